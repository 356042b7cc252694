"""Options that several commands share. Knows how they are read, not what is done with them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, readable=True)


class Place(NamedTuple):
    """Which bus to join, and how."""

    bus: str
    urls: tuple[str, ...]
    token: str | None
    cafile: str | None

    def dialling(self, url: str) -> dict[str, Any]:
        """What to give `connect` besides the URL."""
        tls = {"cafile": self.cafile} if self.cafile and is_tls(url) else {}
        return {"token": self.token, **tls}


class Comers(NamedTuple):
    """Who may come to a listener."""

    open: bool
    certificate: str | None
    key: str | None

    def listening(self, url: str, token: str | None) -> dict[str, Any]:
        """What to give `listen` besides the URL."""
        tls = {"certificate": self.certificate, "key": self.key} if is_tls(url) else {}
        return {"token": token, "open": self.open, **tls}

    def check(self, urls: Iterable[str]) -> None:
        """Raises UsageError if there is a certificate and nothing to show it at."""
        if (self.certificate or self.key) and not any(map(is_tls, urls)):
            raise click.UsageError("--certificate and --key are for listening at wss://")


def is_tls(url: str) -> bool:
    return url.lower().startswith("wss:")


class Settings:
    """What the options say about the whole run; hangs on click's context."""

    as_json = False


class Examples(click.Command):
    """A command whose epilog is shown as it is written."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write("\n" + self.epilog.rstrip() + "\n")


def _check_bus(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    from busway.names import check_bus_name

    try:
        return check_bus_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _note_json(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    context.ensure_object(Settings).as_json = value
    return value


def check_endpoint(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    """For arguments that name endpoints: says at once what is wrong with one, or what it is not."""
    import warnings

    from busway.adapters import literal
    from busway.cli import output
    from busway.errors import LiteralName
    from busway.names import endpoint_id

    warnings.simplefilter("ignore", LiteralName)  # it is told here, in our own words
    try:
        for name in (value,) if isinstance(value, str) else value:
            endpoint_id(name)
            if remark := literal.remark(name):
                output.note(remark)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def json_option(help: str) -> Callable[[F], F]:
    return click.option("--json", "as_json", is_flag=True, callback=_note_json, help=help)


def timeout_option(default: float | None, help: str) -> Callable[[F], F]:
    seconds = click.FloatRange(min=0, max=2_000_000)
    return click.option(
        "--timeout", type=seconds, default=default, show_default=default is not None, metavar="S", help=help
    )


def node_option(help: str) -> Callable[[F], F]:
    return click.option("-n", "--node", default="", metavar="NODE", help=help)


def joins(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a command that joins a bus; it gets a Place as its first argument."""

    @click.option(
        "--bus",
        envvar="BUSWAY_BUS",
        default="default",
        metavar="NAME",
        callback=_check_bus,
        help='The bus to join; also from BUSWAY_BUS.  [default: "default"]',
    )
    @click.option(
        "--connect", "urls", multiple=True, metavar="URL", help="Join this node, too: tcp://host:port."
    )
    @click.option(
        "--token",
        envvar="BUSWAY_TOKEN",
        metavar="TEXT",
        help="The secret of the links to other machines; also from BUSWAY_TOKEN.",
    )
    @click.option(
        "--cafile",
        envvar="BUSWAY_CAFILE",
        type=_FILE,
        metavar="FILE",
        help="Who signs the certificates of wss:// (PEM); also from BUSWAY_CAFILE.  [default: the system's]",
    )
    @functools.wraps(function)
    def command(
        bus: str, urls: tuple[str, ...], token: str | None, cafile: str | None, **options: Any
    ) -> Any:
        return function(Place(bus, urls, token, cafile), **options)

    return command


def listens(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a command that lets others come; it gets `comers`."""

    @click.option("--open", "is_open", is_flag=True, help="Listen beyond loopback without a token.")
    @click.option(
        "--certificate", type=_FILE, metavar="FILE", help="For wss://: the chain to show to comers (PEM)."
    )
    @click.option("--key", type=_FILE, metavar="FILE", help="Its private key (PEM).")
    @functools.wraps(function)
    def command(*words: Any, is_open: bool, certificate: str | None, key: str | None, **options: Any) -> Any:
        return function(*words, comers=Comers(is_open, certificate, key), **options)

    return command
