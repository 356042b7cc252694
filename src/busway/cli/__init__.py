"""The command line `busway`."""

import gc
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """The console script. What loads is no garbage: to look for some took a tenth of each start."""
    gc.disable()  # until a command has been loaded, see `busway.cli.app.group`
    from busway.cli import app

    app.main()
