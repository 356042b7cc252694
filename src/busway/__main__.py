"""`python -m busway` is the command line, too."""

from busway.cli import main

if __name__ == "__main__":
    main()
