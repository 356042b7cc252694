"""`busway host`: runs one object of a Python module on the bus, until it is interrupted."""

from __future__ import annotations

import logging
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import busway
from busway.adapters.asyncio import AsyncBus
from busway.adapters.failures import describe
from busway.adapters.typed import Realm, Restart
from busway.cli import failures, output, reloading, session
from busway.cli.failures import Failure
from busway.cli.options import Examples, Place, joins, json_option, policy_option
from busway.cli.talk import REALMS
from busway.cli.targets import Target, given_as, target_of

if TYPE_CHECKING:
    from busway.adapters.threads import Bus

RESTARTS = click.Choice(["never", "on-error", "always"])


@click.command(cls=Examples)
@click.argument("target", metavar="MODULE:NAME")
@click.argument("given", metavar="[ARGUMENT=VALUE]...", nargs=-1)
@click.option(
    "--name", metavar="NAME", help="What it is called on the bus.  [default: what its contract says]"
)
@click.option(
    "--realm", type=REALMS, default="localnet", show_default=True, help="From how far it is reached."
)
@click.option("--serial", is_flag=True, help="One thing at a time: its methods do not run at once.")
@click.option(
    "--restart",
    type=RESTARTS,
    default="never",
    show_default=True,
    help="When it begins anew, after 0.5 to 30 seconds.",
)
@click.option("--threads", is_flag=True, help="On a Bus: its methods are plain functions, and may block.")
@click.option("--reload", is_flag=True, help="Begin anew when a .py file in this folder or below changes.")
@click.option("-q", "--quiet", is_flag=True, help="No line on stderr when it runs.")
@json_option("One JSON document when it runs.")
@joins
@policy_option
def host(
    place: Place,
    target: str,
    given: tuple[str, ...],
    name: str | None,
    realm: Realm,
    serial: bool,
    restart: Restart,
    threads: bool,
    reload: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Examples:
      busway host home:Home                         the class Home in home.py
      busway host lab.pumps:Pump --name lab/pump pin=4
      busway host lab.pumps:pump --restart on-error
      busway host lab.pumps:Plain --threads         one whose methods block
      busway host home:Home --reload                while one works on it

    NAME is a class in MODULE, which is called with the arguments; or a function that makes an object; or an
    object. A VALUE is JSON, or text if it is none. The object is run as by `bus.host`: its contract is
    served, its methods with @busway.on and @busway.every are called. The module is looked for in this folder
    first.

    Ctrl-C and SIGTERM end it: methods at work may end, on_stop is called, within 5 seconds. What its methods
    raise is logged on stderr. To systemd it says when it runs (Type=notify). Exit status 0: it was
    interrupted, or has ended by itself; 1: it has failed.
    """
    if reload:
        return reloading.run(sys.argv[1:], place.token)
    arguments = given_as(given)
    _log_to_stderr()
    found = target_of(target, arguments)

    options: dict[str, Any] = {"name": name, "realm": realm, "serial": serial, "restart": restart}

    def tell(hosted: Any) -> None:
        if not quiet:
            output.note(f"hosting {hosted.name} on bus {place.bus!r}")
        if as_json:
            output.say_json({"hosting": hosted.name, "version": hosted.version, "bus": place.bus})
        tell_systemd("READY=1")

    async def job(bus: AsyncBus) -> int:
        hosted = begun(bus, found, options)
        try:
            await hosted.ready()
            tell(hosted)
            await hosted.ended()
        except Exception as error:
            raise failed(hosted.name, error) from error
        finally:
            tell_systemd("STOPPING=1")
        return failures.OK

    if threads:
        from busway.cli.hosting_threads import run

        return run(place, found, options, tell)
    return session.run(place, f"host {target}", job, leaf=False, endless=True)


def begun(bus: AsyncBus | Bus, target: Target, options: dict[str, Any]) -> Any:
    """The object, hosted now. Raises Failure."""
    try:
        return bus.host(target.made(), **options)
    except Exception as error:
        if isinstance(error, (TypeError, ValueError)) and _is_ours(error):
            raise Failure(failures.USAGE, f"{target.text} cannot be hosted: {error}") from None
        logging.getLogger("busway").error("%s failed", target.text, exc_info=error)
        raise failed(target.text, error) from error


def _is_ours(error: Exception) -> bool:
    """Whether Busway has raised it, and not the object."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return Path(last.filename).is_relative_to(Path(busway.__file__).parent)


def failed(name: str, error: BaseException | None) -> Failure:
    assert error is not None
    known = failures.failure_of(error)
    text = f"{name} has failed: {output.printable(describe(error))}"
    return Failure(failures.NEGATIVE, text, "FAILED" if known is None else known.name)


def _log_to_stderr() -> None:
    """Let what the object's methods raise be seen, unless the program that it is says otherwise."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("busway").setLevel(logging.WARNING)  # who comes and goes is told by `busway audit`


def tell_systemd(text: str) -> None:
    """Say how it is to who has started it with Type=notify (sd_notify(3)); to others nothing."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where:
        return
    address = f"\0{where[1:]}" if where.startswith("@") else where
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(text.encode(), address)
    except OSError as error:
        output.note(f"cannot tell systemd at {where}: {error.strerror}")
