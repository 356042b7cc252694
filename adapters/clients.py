"""Servers of named clients: who is let in under which name, who may take whose place, and what the program's
hooks are told.

One `Server` for each listener, of whatever sort, or ASGI application; one `Registry` of names for a bus.
Knows of a link only its runner (client_links.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import ref

from busway import ephemeral
from busway.adapters.arguments import SERVER_OPTIONS, check_seconds, check_whole
from busway.adapters.client_records import Client, ClientMessage
from busway.adapters.hooks import HookTimeout, Line, Run
from busway.adapters.sampling import Sampler
from busway.drivers.channel import NOT_KEPT
from busway.names import ascii_safe
from busway.protocol import Connection, Node, codes
from busway.protocol.errors import Refusal
from busway.protocol.wire.hello import Hello

if TYPE_CHECKING:
    from busway.adapters.client_links import ClientRunner

Hook = Callable[..., Any]
WAITING_MAX: Final = 256  # clients of one server whose `admit` has not ended
TOLD_MAX: Final = 64  # messages of one client that wait to be told; beyond that it is not read
NAME_SIZE_MAX: Final = codes.TEXT_SIZE_MAX
SPARE_MAX: Final = (
    64  # who comes beyond max_connections, and may take another's place; the rest gets HTTP 503
)
QUERY_MAX: Final = 64  # parameters of a URL
HOOK_S: Final = 5.0
ADMIT_S_MAX: Final = 10.0  # who hears nothing for three intervals of keepalive, 15 s, leaves
_BYTES_LEAST: Final = 4096
_RATES: Final = ("messages", "bytes")
_FULL = "this server has as many clients as it may (max_connections)"
_BUSY = "too many clients come at once: try again"
_TAKEN = "another client is called {!r} and has not proved to be this one: by its key, or the token"
_TAKEN_ID = "another client has this node id, and has not proved to be this one"
_OWN = "a program on this bus is called {!r}: choose another name"
_REPLACED = "{!r} came again and took the place of this session"
_NOT_LET_IN = "the program that listens does not let this client in"
_LATE = "the program that listens did not say in time whether this client may come: try again"

Proofs = tuple[tuple[str, object], ...]  # what somebody has proved, the strongest first


class Rules(NamedTuple):
    """The rules of a server, as `listen` and `busway.asgi` are given them: `rate` in messages and bytes a
    second, -1 for any number; `hook_timeout` in seconds.
    """

    max_connections: int | None
    admit: Hook | None
    on_message: Hook | None
    on_disconnect: Hook | None
    rate: tuple[int, int]
    hook_timeout: float


def rules_of(
    max_connections: Any = None,
    admit: Any = None,
    rate: Any = None,
    on_message: Any = None,
    on_disconnect: Any = None,
    hook_timeout: Any = HOOK_S,
) -> Rules:
    """The same, checked. Raises TypeError, ValueError."""
    if max_connections is not None:
        check_whole("max_connections", max_connections, "the clients that there may be at once")
        if max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {max_connections}")
    for name, hook in (("admit", admit), ("on_message", on_message), ("on_disconnect", on_disconnect)):
        if hook is not None and not callable(hook):
            raise TypeError(f"{name}= is a function that is called with a client, not {hook!r}")
    limit = check_seconds("hook_timeout", hook_timeout)
    if limit <= 0:
        raise ValueError("hook_timeout must be more than 0 seconds")
    return Rules(max_connections, admit, on_message, on_disconnect, rate_of(rate), limit)


def rate_of(rate: Any) -> tuple[int, int]:
    """Messages and bytes a second, -1 for any number. Raises TypeError, ValueError."""
    if rate is None:
        return -1, -1
    if not isinstance(rate, Mapping) or not rate or not set(rate) <= set(_RATES):
        raise TypeError(
            'rate= is how much a client may send in a second, {"messages": 100, "bytes": 100_000} or one of'
            f" these, not {rate!r}"
        )
    for name, most in rate.items():
        check_whole(f"rate[{name!r}]", most, f"{name} a second")
        least = _BYTES_LEAST if name == "bytes" else 1
        if most < least:
            raise ValueError(f"rate[{name!r}] must be at least {least} a second, not {most}")
    return rate.get("messages", -1), rate.get("bytes", -1)


def serve_clients(bus: Any, url: str, options: dict[str, Any]) -> tuple[dict[str, Any], Server]:
    """The options of `listen` that are left for the driver, and the server that the others make. Raises
    TypeError, ValueError.
    """
    mine = {name: value for name, value in options.items() if name in SERVER_OPTIONS and value is not None}
    left = {name: value for name, value in options.items() if name not in SERVER_OPTIONS}
    server = server_of(bus, **mine)
    if url.partition(":")[0].lower() in ("ws", "wss"):
        left["keep_requests"] = True
        if server.rules.max_connections is not None:
            left.setdefault("connections_max", server.rules.max_connections + SPARE_MAX)
    return left, server


def server_of(bus: Any, **options: Any) -> Server:
    """A server of this bus; options as of `rules_of`. Raises TypeError, ValueError."""
    rules = rules_of(**options)
    for hook in (rules.admit, rules.on_message, rules.on_disconnect):
        if hook is not None:
            bus._check_hook(hook)
    return Server(bus._host, bus, rules)


class Seat(NamedTuple):
    """A client that is there, or about to be, what it has proved, and its link."""

    client: Client
    proofs: Proofs
    runner: ClientRunner

    def is_same(self, other: Seat) -> bool:
        """Whether `other` proves to be who has this seat."""
        return bool(self.proofs) and self.proofs[0] in other.proofs


class Registry:
    """The clients of all servers of one bus."""

    def __init__(self) -> None:
        self.seats: dict[ClientRunner, Seat] = {}
        self._by_name: dict[str, Seat] = {}
        self._by_node: dict[bytes, Seat] = {}

    def clients(self) -> list[Client]:
        """All, in the order in which they came."""
        return [seat.client for seat in self.seats.values()]

    def find(self, name: str) -> Client | None:
        """The client of that name."""
        seat = self._by_name.get(name)
        return None if seat is None else seat.client

    def called(self, node: Node, name: str) -> list[bytes]:
        """The ids of the programs of that name in reach: a client's has been looked at. What a client that
        forwards says of those behind it has not, and counts for nothing.
        """
        seat = self._by_name.get(name)
        if seat is not None:
            return [seat.client.node]
        return [
            peer.node_id
            for peer in [node.me, *node.peers()]
            if peer.label == name and getattr(peer.hop, "tag", None) not in self.seats
        ]

    def rivals(self, seat: Seat) -> list[Seat]:
        """The clients that are there already with the name, or the node id."""
        name, node = seat.client.name, seat.client.node
        found = [self._by_name.get(name) if name else None, self._by_node.get(node)]
        return list({id(each): each for each in found if each is not None}.values())

    def claim(self, seat: Seat) -> None:
        """Check that somebody may be who it says. Raises Refusal: then whoever is there stays."""
        for other in self.rivals(seat):
            if not other.is_same(seat):
                other.client.refused += 1
                named = other.client.name == seat.client.name
                text = _TAKEN.format(ascii_safe(seat.client.name)) if named else _TAKEN_ID
                raise Refusal(codes.NAME_TAKEN, text)

    def put(self, seat: Seat) -> None:
        """It is there, or has the name again."""
        self.seats[seat.runner] = seat
        if seat.client.name:
            self._by_name[seat.client.name] = seat
        self._by_node[seat.client.node] = seat

    def remove(self, runner: ClientRunner) -> Seat | None:
        """Forget the client of a link that is gone; what it had another may have by now."""
        seat = self.seats.pop(runner, None)
        if seat is not None:
            client = seat.client
            if self._by_name.get(client.name) is seat:
                del self._by_name[client.name]
            if self._by_node.get(client.node) is seat:
                del self._by_node[client.node]
            for other in self.seats.values():  # another link of the same program
                if other.client.node == client.node:
                    self.put(other)
                    break
        return seat


class Server:
    """The server at one listener. Args: `host` of the bus, `bus` itself."""

    def __init__(self, host: Any, bus: Any, rules: Rules) -> None:
        self.rules = rules
        self.refused = 0  # who was not let in: by `admit`, for its name, or for there were too many
        self.slowed = Sampler()  # of what is logged of them
        self._host = host
        self._bus: ref[Any] = ref(bus)
        self._count = 0  # of clients
        self._waiting = 0
        self._lines: dict[ClientRunner, Line] = {}
        if host.registry is None:
            host.registry = Registry()
        self._registry: Registry = host.registry

    def clients(self) -> list[Client]:
        """The clients that are there, in the order in which they came."""
        return [seat.client for runner, seat in self._registry.seats.items() if runner.server is self]

    # Who comes

    def came(self, runner: ClientRunner, theirs: Hello) -> Seat:
        """Somebody says HELLO: who that would be. Raises Refusal."""
        asked = getattr(runner.channel, "asked", None)
        query = _parameters(asked.query) if asked is not None else {}
        name = query.get("name", "") or theirs.label
        _check_name(name)
        node = theirs.key[: codes.ID_SIZE]
        client = Client(self._bus, name, node, runner.channel.address)
        client.query = query
        client.headers = asked.headers if asked is not None else {}
        client.scope = getattr(runner.channel, "scope", None)
        if asked is not None:  # it is not kept as long as the link
            runner.channel.asked = NOT_KEPT
        if client.scope is not None:
            runner.channel.scope = None
        proved = runner.protection_now
        client.proved, client.trusted, client.key = proved
        seat = Seat(client, _proofs(runner.connection, runner.token), runner)
        if self._is_full_for(seat):
            self.turn_away(Refusal(codes.MESH_FULL, _FULL))
        if self.rules.admit is None:
            _forget_request(client)
        return seat

    def _is_full_for(self, seat: Seat) -> bool:
        most = self.rules.max_connections
        return most is not None and self._count >= most and not self._replaces(seat)

    def _replaces(self, seat: Seat) -> bool:
        """Whether somebody leaves for it."""
        return any(
            other.runner.server is self and other.is_same(seat) for other in self._registry.rivals(seat)
        )

    def turn_away(self, refusal: Refusal) -> None:
        """It does not come in, and is counted. Raises the refusal, which is told as that of any link."""
        self.refused += 1
        raise refusal

    def ask(self, seat: Seat, then: Callable[[Seat | None, Refusal | None], object]) -> None:
        """Ask `admit` about it, and call `then` with what came of it: the seat, or the refusal. Raises
        Refusal.
        """
        if self._waiting >= WAITING_MAX:
            self.turn_away(Refusal(codes.MESH_FULL, _BUSY))
        self._waiting += 1
        assert self.rules.admit is not None
        hook, limit = self.rules.admit, min(self.rules.hook_timeout, ADMIT_S_MAX)
        Run(self._host, hook, (seat.client,), limit, partial(self._answered, seat, then))

    def _answered(
        self,
        seat: Seat,
        then: Callable[[Seat | None, Refusal | None], object],
        value: Any,
        error: BaseException | None,
    ) -> None:
        self._waiting -= 1
        client = seat.client
        _forget_request(client)
        refusal = self._refusal(value, error)
        if refusal is not None:
            then(None, refusal)
            return
        if isinstance(value, str) and value:
            client.identity = value
            seat = seat._replace(proofs=(("app", value), *seat.proofs))
        then(seat, None)

    def _refusal(self, value: Any, error: BaseException | None) -> Refusal | None:
        if isinstance(error, PermissionError):
            return Refusal(codes.NOT_ADMITTED, str(error) or _NOT_LET_IN)
        if error is None and (value is None or value is True or isinstance(value, str)):
            return None
        if error is None and value is False:
            return Refusal(codes.NOT_ADMITTED, _NOT_LET_IN)
        if error is None:
            error = TypeError(f"admit returns text, True, False or None, not {value!r}")
        self._failed(self.rules.admit, error)
        late = isinstance(error, HookTimeout)
        return Refusal(codes.MESH_FULL if late else codes.NOT_ADMITTED, _LATE if late else _NOT_LET_IN)

    def seat(self, seat: Seat) -> None:
        """Let it in: whoever proves to be the same as one who is there takes its place. Raises Refusal."""
        client = seat.client
        try:
            _check_name(client.name)
            self._check_programs(client)
            self._registry.claim(seat)
            if self._is_full_for(seat):  # others may have come while `admit` thought about it
                raise Refusal(codes.MESH_FULL, _FULL)
        except Refusal as refusal:
            self.turn_away(refusal)
        rivals = self._registry.rivals(seat)
        self._registry.put(seat)
        self._count += 1
        for other in rivals:
            other.runner.make_way(client.node, _REPLACED.format(ascii_safe(client.name)))

    def _check_programs(self, client: Client) -> None:
        """Raises Refusal for the name of a program of the bus that is no client: it would get what is meant
        for that.
        """
        if not client.name or self._registry.find(client.name) is not None:
            return
        if set(self._registry.called(self._host.node, client.name)) - {client.node}:
            raise Refusal(codes.NAME_TAKEN, _OWN.format(ascii_safe(client.name)))

    # What it does

    def heard(self, runner: ClientRunner, client: Client, message: ClientMessage) -> None:
        """It has sent this. Whoever is behind with `on_message` is not read until that has caught up."""
        line = self._line(runner)
        if line.stuck:
            client.unheard += 1
            return
        assert self.rules.on_message is not None
        line.add(self.rules.on_message, client, message)

    def behind(self, runner: ClientRunner) -> bool:
        """Whether more waits to be told of it than may."""
        line = self._lines.get(runner)
        return line is not None and len(line) >= TOLD_MAX and not line.stuck

    def _line(self, runner: ClientRunner) -> Line:
        line = self._lines.get(runner)
        if line is None:
            line = self._lines[runner] = Line(self._host, self.rules.hook_timeout, self._failed)
        return line

    def left(self, runner: ClientRunner) -> None:
        """Its link is gone."""
        seat = self._registry.remove(runner)
        if seat is None:
            return
        self._count -= 1
        seat.client._detach()
        line = self._lines.pop(runner, None)
        if self.rules.on_disconnect is not None and self._host.failure is None:
            line = line or Line(self._host, self.rules.hook_timeout, self._failed)
            line.add(self.rules.on_disconnect, seat.client)

    def _failed(self, hook: Hook | None, error: BaseException) -> None:
        if self._host.failure is None:  # else it is given up with the bus
            self._host.failures.add(f"the hook {getattr(hook, '__name__', type(hook).__name__)}", error)


def _forget_request(client: Client) -> None:
    """Only `admit` sees it."""
    client.headers = {}
    client.scope = None


def _check_name(name: Any) -> None:
    """Raises Refusal for what cannot be the name of a client."""
    if not isinstance(name, str) or len(name.encode(errors="replace")) > NAME_SIZE_MAX:
        raise Refusal(codes.NOT_ADMITTED, f"a name has at most {NAME_SIZE_MAX} bytes")
    if not name.isprintable():
        raise Refusal(codes.NOT_ADMITTED, "a name is of printable characters")


def _parameters(query: str) -> dict[str, str]:
    """The parameters of a URL, the last of each; {} for what is none."""
    if not query:
        return {}
    from urllib.parse import parse_qsl

    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=QUERY_MAX))
    except ValueError:
        return {}


def _proofs(connection: Connection, token: str | None) -> Proofs:
    """The proofs that the other side has given, the strongest first."""
    handshake = None if connection.channel is None else connection.channel.handshake
    if handshake is None or not handshake.finished:
        return ()
    proofs: list[tuple[str, object]] = []
    public, is_board = handshake.remote_key, handshake.pattern == codes.PSK_AES
    if is_board and handshake.remote_id:
        proofs.append(("board", handshake.remote_id))
    kept = bool(public) and not ephemeral.is_ephemeral(public)
    if kept:
        proofs.append(("key", public))
    if token is not None:
        proofs.append(("token", token))
    if public and not kept:
        proofs.append(("key", public))
    return tuple(proofs)
