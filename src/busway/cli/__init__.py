"""The command line `busway`."""

from busway.cli.app import main

__all__ = ["main"]
