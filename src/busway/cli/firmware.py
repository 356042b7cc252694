"""`busway firmware`: what a board carries, and what it takes there. As `python -m busway.firmware`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import UUID

import click

from busway.cli import failures, output
from busway.cli.failures import Failure
from busway.cli.options import Examples, json_option
from busway.errors import KeyFileError
from busway.firmware import KEY_FILE, build, measure, provision, show


@click.command(cls=Examples)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--py", is_flag=True, help="Write .py files instead of .mpy.")
@click.option("--url", default="", help="Where DIR will be served, for mip of MicroPython 1.25 and older.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The board's own key: made if FILE is not there, and written to DIR/board.key for the board.",
)
@click.option("--secure", is_flag=True, help="With what a link with a token needs; --key brings it, too.")
@click.option("--micropython", metavar="COMMAND", help="A MicroPython for this machine, to measure RAM with.")
@json_option("One JSON document: bytes of flash and RAM of each module.")
def firmware(
    out: Path, py: bool, url: str, key: Path | None, secure: bool, micropython: str | None, as_json: bool
) -> int:
    """Examples:
      busway firmware --out board
      mpremote cp -r board/busway :lib/          then, onto the board
      busway firmware --out board --micropython .venv/bin/micropython32
      busway firmware --out board --key keys/pump.key
      mpremote cp board/board.key :              then, onto the board; Loop(..., key="board.key")
      busway firmware --out board --url http://192.168.1.20:8000    served there, for an older board's mip

    It writes DIR/busway, package.json for mip and manifest.py for freezing. functions.json says, of each file
    and function that a board's traceback shows, what it is in the sources; names.json has the other names.
    --py keeps those names and the texts of errors, and needs no mpy-cross, but twice the heap. RAM is what
    importing takes, measured in that MicroPython. A key is a secret of this board and its gateway, which is
    given the same FILE, or its folder; the id that is said is the board's node id.
    """
    try:
        flash = build(out, compiled=not py, url=url, secure=secure or key is not None)
        board_id = None if key is None else str(UUID(bytes=provision(out, key)))
        ram = measure(out, micropython, tuple(flash)) if micropython else {}
    except (RuntimeError, OSError, KeyFileError) as error:
        raise Failure(failures.USAGE, str(error)) from None
    except subprocess.CalledProcessError as error:
        raise Failure(
            failures.NEGATIVE, f"{micropython} cannot import them: {error.stderr.strip()}"
        ) from None
    if as_json:
        document: dict[str, object] = {name: {"flash": flash[name], "ram": ram.get(name)} for name in flash}
        output.say_json(document if board_id is None else {**document, "id": board_id})
    else:
        output.say(show(flash, ram))
        if board_id is not None:
            output.say(f"the key of board {board_id} is in {key}, and for the board in {out / KEY_FILE}")
    return failures.OK
