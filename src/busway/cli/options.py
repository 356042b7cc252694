"""Options that several commands share. Knows how they are read, not what is done with them."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import click

from busway.cli import completing

F = TypeVar("F", bound=Callable[..., Any])
_GIVEN = click.core.ParameterSource.COMMANDLINE
_FILE = click.Path(exists=True, dir_okay=False, readable=True)


class Place(NamedTuple):
    """Which bus to join, and how."""

    bus: str
    urls: tuple[str, ...]
    token: str | None
    cafile: str | None
    headers: tuple[tuple[str, str], ...] = ()
    proxy: str | None = None  # "none" for none; None for what the environment says
    realm: str | None = None  # of the links
    weak: bool = False  # a token that can be guessed will do
    key: str | None = None  # the file of this node's key
    trust: str | None = None  # the file that says whose keys may join
    boards: str | None = None  # the file or folder with the keys of boards
    policy: str | None = None  # the file that says who may do what
    credentials: str | None = None  # files of NATS, for nats://: a user's token and its key
    nkey: str | None = None  # ... or a key alone

    def identity(self, urls: Iterable[str], lasting: bool) -> dict[str, Any]:
        """The arguments of a bus that opens links at these URLs, or lets others come there: who it is, and
        whom it lets in; `lasting` if it is to be the one node of its key. Raises Failure; UsageError for an
        option that would do nothing.
        """
        from busway.cli import keys

        urls = [url for url in urls if not is_local(url)]
        others = keys.boards(self.boards) if self.boards else {}
        others["policy"] = _policy(self.policy)
        if urls:
            return keys.identity(self.key, self.trust, lasting) | others
        for name, value in (("key", self.key), ("trust", self.trust)):
            if value and click.get_current_context().get_parameter_source(f"{name}_path") is _GIVEN:
                raise click.UsageError(f"--{name} is for links that leave this machine: there are none")
        return others

    def dialling(self, url: str) -> dict[str, Any]:
        """The arguments for `connect` besides the URL."""
        found: dict[str, Any] = {"token": self.token, "realm": self.realm, "weak": self.weak}
        if self.cafile and is_tls(url):
            found["cafile"] = self.cafile
        if self.headers and is_web(url):
            found["headers"] = self.headers
        if self.proxy and is_web(url):
            found["proxy"] = None if self.proxy == "none" else self.proxy
        return found | self.at_servers(url)

    def at_servers(self, url: str) -> dict[str, Any]:
        """Of these, those that servers of NATS want to know; none for another URL."""
        from busway.adapters import opening

        if not opening.is_backbone(url):
            return {}
        cafile = self.cafile if opening.has_certificate(url) else None
        given = {"cafile": cafile, "credentials": self.credentials, "nkey": self.nkey}
        return {name: value for name, value in given.items() if value}


class Accept(NamedTuple):
    """Says who may connect to a listener."""

    open: bool
    routers: bool
    certificate: str | None
    key: str | None

    def listening(self, url: str, place: Place) -> dict[str, Any]:
        """The arguments for `listen` besides the URL."""
        tls = {"certificate": self.certificate, "key": self.key} if is_tls(url) else {}
        return {
            "token": place.token,
            "weak": place.weak,
            "open": self.open,
            "routers": self.routers,
            "realm": place.realm,
            **tls,
        }

    def check(self, urls: Iterable[str]) -> None:
        """Raises UsageError for options about incoming links where there are none."""
        if self.open and not list(urls):
            raise click.UsageError("--open is for listening: nobody is let in here")
        if self.routers and not self.open:
            raise click.UsageError(
                "--routers is for --open: who has the token, or is trusted as one, may be a router"
            )
        if (self.certificate or self.key) and not any(map(is_tls, urls)):
            raise click.UsageError("--certificate and --certificate-key are for listening at wss://")


def is_tls(url: str) -> bool:
    return url.lower().startswith("wss:")


def is_local(url: str) -> bool:
    """Whether a link there does not leave the machine, so that the system says who is at its end."""
    from busway.adapters.protecting import LOCAL

    return url.lower().partition("://")[0] in LOCAL


def is_web(url: str) -> bool:
    return url.lower().startswith(("ws:", "wss:"))


class Settings:
    """The options about the whole run; hangs on click's context."""

    as_json = False


class Examples(click.Command):
    """A command whose docstring is shown under its options, as it is written."""

    def __init__(self, name: str | None, help: str, **options: Any) -> None:
        super().__init__(name, epilog=inspect.cleandoc(help), **options)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"\n{self.epilog}\n")


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
    return _checked(value, False)


def check_subscribed(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    """The same where patterns may stand."""
    return _checked(value, True)


def _checked(value: Any, patterns: bool) -> Any:
    import warnings

    from busway.adapters import literal
    from busway.cli import output
    from busway.errors import LiteralName
    from busway.names import endpoint_id

    warnings.simplefilter("ignore", LiteralName)  # it is told here, in our own words
    try:
        for name in (value,) if isinstance(value, str) else value:
            endpoint_id(name)
            if patterns:
                literal.id_of_subscribed(name)
            else:
                literal.check_single(name)
            if remark := literal.remark(name):
                output.note(remark)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def is_given(name: str) -> bool:
    """Whether the option of this command stands on the command line."""
    return click.get_current_context().get_parameter_source(name) is _GIVEN


def refuse_beside(flag: str, *names: str) -> None:
    """Raises UsageError for an option of these that was given and would do nothing beside `flag`."""
    for parameter in click.get_current_context().command.params:
        if parameter.name in names and is_given(parameter.name):
            remedy = "give --where in its place" if flag == "NAME" else "leave one of them out"
            raise click.UsageError(f"{parameter.opts[-1]} does nothing with {flag}: {remedy}")


def json_option(help: str) -> Callable[[F], F]:
    return click.option("--json", "as_json", is_flag=True, callback=_note_json, help=help)


def timeout_option(default: float | None, help: str) -> Callable[[F], F]:
    seconds = click.FloatRange(min=0, max=2_000_000)
    return click.option(
        "--timeout", type=seconds, default=default, show_default=default is not None, metavar="S", help=help
    )


def interval_option(least: float, help: str) -> Callable[[F], F]:
    return click.option(
        "-i",
        "--interval",
        type=click.FloatRange(min=least, max=86_400),
        default=1.0,
        show_default=True,
        metavar="S",
        help=help,
    )


def wait_option(function: F) -> F:
    return click.option(
        "--wait",
        type=click.FloatRange(min=0, max=2_000_000),
        metavar="S",
        help="Give up, with exit status 4, if it is not joined within so many seconds from the start."
        "  [default: try for ever]",
    )(function)


def node_option(help: str) -> Callable[[F], F]:
    return click.option(
        "-n", "--node", default="", metavar="NODE", shell_complete=completing.nodes, help=help
    )


def _protects(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say who this is to other machines, and who may come from there."""

    @click.option(
        "--token",
        envvar="BUSWAY_TOKEN",
        metavar="TEXT",
        help="The secret of the links to other machines; also from BUSWAY_TOKEN. Whoever looks at this"
        " machine's processes may see it here: --token-file hides it.",
    )
    @click.option(
        "--token-file",
        envvar="BUSWAY_TOKEN_FILE",
        metavar="FILE",
        help="A file with that secret, as `busway token` writes it; also from BUSWAY_TOKEN_FILE.",
    )
    @click.option("--weak", is_flag=True, help="Take a token that is short or could be guessed.")
    @click.option(
        "--key",
        "key_path",
        envvar="BUSWAY_KEY",
        metavar="FILE",
        help="The key of this node (`busway key new`), for links to other machines; also from BUSWAY_KEY."
        "  [default: one for this run]",
    )
    @click.option(
        "--trust",
        "trust_path",
        envvar="BUSWAY_TRUST",
        metavar="FILE",
        help="Whose keys may join over such links, and as what (TOML); also from BUSWAY_TRUST.",
    )
    @functools.wraps(function)
    def command(
        *,
        token: str | None,
        token_file: str | None,
        weak: bool,
        key_path: str | None,
        trust_path: str | None,
        **options: Any,
    ) -> Any:
        protection = {"token": _token(token, token_file), "weak": weak, "key": key_path, "trust": trust_path}
        return function(protection=protection, **options)

    return command


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
    @_protects
    @click.option(
        "--cafile",
        envvar="BUSWAY_CAFILE",
        type=_FILE,
        metavar="FILE",
        help="Who signs the certificates of wss:// and, of NATS, tls:// (PEM); also from BUSWAY_CAFILE."
        "  [default: the system's]",
    )
    @click.option(
        "--header",
        "headers",
        multiple=True,
        metavar="NAME:VALUE",
        callback=_split_headers,
        help="What a gateway before ws:// or wss:// wants to see; may be given several times.",
    )
    @click.option(
        "--proxy",
        metavar="URL",
        help="To ws:// and wss:// through this HTTP proxy, http://user:password@host:port; none for none."
        "  [default: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say]",
    )
    @functools.wraps(function)
    def command(
        bus: str,
        urls: tuple[str, ...],
        protection: dict[str, Any],
        cafile: str | None,
        headers: tuple[tuple[str, str], ...],
        proxy: str | None,
        **options: Any,
    ) -> Any:
        place = Place(bus, urls, cafile=cafile, headers=headers, proxy=proxy, **protection)
        return function(place, **options)

    return command


def nats_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that may be a gateway on NATS; above `joins`, whose Place then has them."""

    @click.option(
        "--credentials",
        type=_FILE,
        metavar="FILE",
        help="A credentials file of NATS, for nats:// and tls://: a user's token with its seed.",
    )
    @click.option("--nkey", type=_FILE, metavar="FILE", help="A seed file of NATS, for the same.")
    @functools.wraps(function)
    def command(place: Place, credentials: str | None, nkey: str | None, **options: Any) -> Any:
        return function(place._replace(credentials=credentials, nkey=nkey), **options)

    return command


def _policy(path: str | None) -> Any:
    """The policy that a bus is given; short commands go by none, whatever the environment says."""
    if not path:
        return False
    from busway.cli.policy import load

    return load(path)


def policy_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option of a command that holds links for long; above `joins`, whose Place then has it."""

    @click.option(
        "--policy",
        "policy_path",
        envvar="BUSWAY_POLICY",
        metavar="FILE",
        help="Who may do what with which names, and how much of it (TOML); also from BUSWAY_POLICY.",
    )
    @functools.wraps(function)
    def command(place: Place, policy_path: str | None, **options: Any) -> Any:
        return function(place._replace(policy=policy_path), **options)

    return command


def _token(text: str | None, path: str | None) -> str | None:
    """The token that counts, which nobody else gets to see. What was typed comes before the environment."""
    from busway import tokens

    for name in tokens.VARIABLES:  # no program that is started from here needs them
        os.environ.pop(name, None)
    context = click.get_current_context()
    typed, from_file = (context.get_parameter_source(name) is _GIVEN for name in ("token", "token_file"))
    if typed and from_file:
        raise click.UsageError("--token and --token-file are two tokens: leave one of them out")
    if typed and text:
        from busway.cli.hiding import hide

        hide(text)
    if path and (from_file or not text):
        try:
            return tokens.read_file(path)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise click.UsageError(f"--token-file {path}: {why}") from None
    return text


def _split_headers(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    found = []
    for value in values:
        name, colon, rest = value.partition(":")
        if not colon:
            raise click.BadParameter(f"expected NAME:VALUE, not {value!r}")
        found.append((name.strip(), rest.strip()))
    return tuple(found)


def links_realm(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option of a command that makes links for others; above `joins`, whose Place then has it."""

    @click.option(
        "--realm",
        type=click.Choice(["userspace", "localnet", "global"]),
        help="Of the links: only endpoints of this realm or a wider one pass; the wider of both sides' holds."
        "  [default: localnet; global over ws:// and wss://]",
    )
    @click.option(
        "--boards",
        envvar="BUSWAY_BOARDS",
        metavar="PATH",
        help="Which boards may join by a key of their own: its file (`busway firmware --key`), or a folder"
        " of them; also from BUSWAY_BOARDS. A serial line then takes nobody else, but with --token.",
    )
    @policy_option
    @functools.wraps(function)
    def command(place: Place, realm: str | None, boards: str | None, **options: Any) -> Any:
        return function(place._replace(realm=realm, boards=boards), **options)

    return command


def listens(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a command that lets others connect; it gets `accept`."""

    @click.option(
        "--open",
        "is_open",
        is_flag=True,
        help="Listen beyond loopback without a token: all may come, as leaves, which boards, pages and"
        " programs with leaf=True are.",
    )
    @click.option(
        "--routers",
        is_flag=True,
        help="With --open: all may come, also who forwards for others, as `busway connect` and `bridge` do.",
    )
    @click.option(
        "--certificate", type=_FILE, metavar="FILE", help="For wss://: the chain to show to clients (PEM)."
    )
    @click.option(
        "--certificate-key", type=_FILE, metavar="FILE", help="The certificate's private key (PEM)."
    )
    @functools.wraps(function)
    def command(
        *words: Any,
        is_open: bool,
        routers: bool,
        certificate: str | None,
        certificate_key: str | None,
        **options: Any,
    ) -> Any:
        accept = Accept(is_open, routers, certificate, certificate_key)
        return function(*words, accept=accept, **options)

    return command
