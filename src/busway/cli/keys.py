"""`busway key`: makes the key of a node, and shows its public half. Joins nothing."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from busway import keys, trust
from busway.adapters.identity import unbound_id
from busway.cli import failures, output
from busway.cli.options import Examples, json_option
from busway.errors import KeyFileError, TrustFileError


@click.command(cls=Examples)
@click.argument("what", metavar="new|show", type=click.Choice(["new", "show"]))
@click.argument("path", metavar="[FILE]", required=False)
@click.option("--passphrase", "encrypted", is_flag=True, help="With new: encrypt the file; asks for it.")
@json_option("One JSON document: file, public key, node id.")
def key(what: str, path: str | None, encrypted: bool, as_json: bool) -> int:
    """Examples:
      busway key new                       ~/.config/busway/key.pem, for this user's bridge
      busway key new /etc/lab/pump.pem     for one program; a program has a key of its own
      busway key new --passphrase          asks for one twice, or takes BUSWAY_PASSPHRASE
      busway key show                      the public key, which others write in their trust files

    FILE is by default what BUSWAY_KEY says, else key.pem in ~/.config/busway. The file is readable by its
    owner only; one that others can read is refused wherever it is used. What is printed is no secret.
    """
    where = path or usual_path()
    try:
        if what == "show":
            if encrypted:
                raise click.UsageError("--passphrase is for new: show asks when the file is encrypted")
            found = load(where)
        else:
            found = make(where, encrypted)
            if not as_json:
                output.note(f"{where} is the key; keep it to yourself. Others trust this:")
    except KeyFileError as error:
        raise failures.Failure(failures.NEGATIVE, str(error), "KEY_FILE") from None
    if as_json:
        output.say_json({"file": where, "key": found.text, "node": output.uuid_text(found.id)})
    else:
        output.say(found.text)
    return failures.OK


def usual_path() -> str:
    """The key file of a command that was not told one."""
    return os.environ.get("BUSWAY_KEY") or os.path.join(trust.settings_folder(), "key.pem")


def load(path: str) -> keys.Key:
    """A key; its passphrase, if it has one, is asked for on the terminal. Raises KeyFileError."""
    return keys.Key.load(path, _ask if _may_ask() else None)


def identity(key_path: str | None, trust_path: str | None, lasting: bool) -> dict[str, Any]:
    """The arguments of a bus with links that leave the machine. Raises Failure.

    One that is `lasting` is the node of its key, and holds its file. Others have an id of their own: several
    may use the key at once, beside the one that lasts. Without a key both have one of this run.
    """
    try:
        found: dict[str, Any] = {"trust": trust.TrustFile(trust_path) if trust_path else None}
        if key_path:
            found["key"] = load(key_path)
        if key_path and not lasting:
            found["node_id"] = unbound_id()
        return found
    except KeyFileError as error:
        raise failures.Failure(failures.NEGATIVE, str(error), "KEY_FILE") from None
    except TrustFileError as error:
        raise failures.Failure(failures.NEGATIVE, str(error), "TRUST_FILE") from None


def boards(place: str) -> dict[str, Any]:
    """The argument of a bus that knows boards by their keys. Raises Failure."""
    from busway.board_keys import BoardKeys

    try:
        return {"boards": BoardKeys(place)}
    except KeyFileError as error:
        raise failures.Failure(failures.NEGATIVE, str(error), "KEY_FILE") from None


def _may_ask() -> bool:
    return sys.stdin.isatty() and not os.environ.get("BUSWAY_PASSPHRASE")


def _ask() -> str:
    return str(click.prompt("passphrase of the key", hide_input=True, err=True))


def make(path: str, encrypted: bool) -> keys.Key:
    """Make a key, and its folder if need be. Raises KeyFileError."""
    passphrase = os.environ.get("BUSWAY_PASSPHRASE") or None
    if encrypted and passphrase is None:
        passphrase = click.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True)
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise KeyFileError(f"cannot make the folder {folder}: {error.strerror}") from None
    made = keys.Key.new()
    made.save(path, passphrase if encrypted else None)
    return made
