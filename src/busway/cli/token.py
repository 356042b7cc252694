"""`busway token`: a new secret for links to other machines."""

from __future__ import annotations

import os

import click

from busway import tokens
from busway.cli import failures, output
from busway.cli.failures import Failure
from busway.cli.options import Examples, json_option


@click.command(cls=Examples)
@click.option(
    "--out", metavar="FILE", help="Write it to a new file that only you may read, and print nothing."
)
@json_option('One JSON document: {"token": ...}, or {"file": ...} with --out.')
def token(out: str | None, as_json: bool) -> int:
    """Examples:
      busway token --out token.txt
      busway listen-on tcp://0.0.0.0:7660 --token-file token.txt
      busway connect 192.168.1.20 --token-file token.txt
      export BUSWAY_TOKEN_FILE=~/.config/busway-token     for all commands and programs
      export BUSWAY_TOKEN="$(busway token)"

    128 random bits as 26 letters and digits. Copy the file to the other machines, with ssh for one.
    """
    made = tokens.make()
    if out is not None:
        try:
            with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{made}\n")
        except FileExistsError:
            text = (
                f"{out} is there already, and a token is never overwritten: name another file, or remove it"
            )
            raise Failure(failures.NEGATIVE, text) from None
        except OSError as error:
            raise Failure(failures.NEGATIVE, f"cannot write {out}: {error.strerror}") from None
        if as_json:
            output.say_json({"file": out})
    elif as_json:
        output.say_json({"token": made})
    else:
        output.say(made)
    return failures.OK
