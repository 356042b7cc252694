"""Arguments of a wrong type are refused at once, by both buses, with what was expected."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import busway
from tests.adapters.tools import channels

TOKENS = [
    (123, TypeError, r"a token is text \(str\), or None for none; got int$"),
    (b"secret", TypeError, r"got bytes: write token.decode\(\) or token.hex\(\)$"),
    (["secret"], TypeError, "got list$"),
    ("", ValueError, "token must not be empty: make one with"),
    ("secret\ud800", ValueError, "a token is text in UTF-8"),
]

Call = Callable[[Any, Any], Any]
CALLS: dict[str, Call] = {
    "connect tcp": lambda bus, token: bus.connect("tcp://127.0.0.1:9", token=token),
    "connect ws": lambda bus, token: bus.connect("ws://127.0.0.1:9", token=token),
    "listen tcp": lambda bus, token: bus.listen("tcp://127.0.0.1:0", token=token),
    "listen ws": lambda bus, token: bus.listen("ws://127.0.0.1:0", token=token),
}


async def settled(result: Any) -> None:
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
@pytest.mark.parametrize(("token", "kind", "sentence"), TOKENS)
async def test_what_is_no_token(make: Any, token: object, kind: type[Exception], sentence: str) -> None:
    bus = make(ipc=False)
    await settled(bus.open())
    try:
        for call in CALLS.values():
            with pytest.raises(kind, match=sentence) as caught:
                await settled(call(bus, token))
            assert "secret" not in str(caught.value)
        here, there = channels()
        with pytest.raises(kind, match=sentence):
            bus.attach(here, token=token)
        here.close()
        there.close()
        assert bus.links() == []
    finally:
        await settled(bus.close())


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
@pytest.mark.parametrize("cost", [0, 16383])
async def test_a_listener_is_refused_what_its_links_would_be(make: Any, cost: int) -> None:
    bus = make(ipc=False)
    await settled(bus.open())
    try:
        with pytest.raises(ValueError, match="cost"):
            await settled(bus.listen("tcp://127.0.0.1:0", cost=cost))
    finally:
        await settled(bus.close())


OTHERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "queue": (lambda bus: bus.register("x", queue="5"), "queue must be the messages that may wait, a whole"),
    "register cost": (lambda bus: bus.register("x", cost=1.5), "cost must be .*, a whole number"),
    "link cost": (
        lambda bus: bus.connect("tcp://127.0.0.1:9", cost="1"),
        r"cost must be 1 to 16382, a whole number \(int\), not '1'",
    ),
    "listener's cost": (
        lambda bus: bus.listen("tcp://127.0.0.1:0", cost="1"),
        r"cost must be 1 to 16382, a whole number \(int\), not '1'",
    ),
    "limit": (
        lambda bus: bus.serve("x", lambda request: None, limit="x"),
        "limit must be the handlers that may run at once",
    ),
    "handler": (lambda bus: bus.serve("x", 5), "a handler is a function that takes a request, not 5"),
    "serve without parentheses": (
        lambda bus: bus.serve(lambda request: None),
        r'as in @bus.serve\("lab/pump"\)',
    ),
}


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
@pytest.mark.parametrize("name", OTHERS)
async def test_other_arguments(make: Any, name: str) -> None:
    call, sentence = OTHERS[name]
    bus = make(ipc=False)
    await settled(bus.open())
    try:
        with pytest.raises(TypeError, match=sentence):
            await settled(call(bus))
        assert not any(found.name == "x" for found in bus.endpoints())  # and nothing was done
    finally:
        await settled(bus.close())


VALUES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "queue": (lambda bus: bus.register("x", queue=1), "queue must be at least 2, .* not 1"),
    "subscribed queue": (lambda bus: bus.subscribe("x", queue=-1), "queue must be at least 2, .* not -1"),
    "node's name": (
        lambda bus: bus.request("x", node="pump"),
        r"node must be a node's id, 16 bytes, as in NodeInfo\.id; not 'pump'",
    ),
    "node": (lambda bus: bus.send("x", node=bus.nodes()[0]), r"as in NodeInfo\.id; not <node 'here' "),
    "timeout of receive": (
        lambda bus: bus.register("y").receive(timeout="1"),
        "timeout must be 0 to 2147483 seconds, or None for as long as it takes, not '1'",
    ),
}


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
@pytest.mark.parametrize("name", VALUES)
async def test_values_that_cannot_be_are_told_in_the_callers_words(make: Any, name: str) -> None:
    call, sentence = VALUES[name]
    bus = make(ipc=False, label="here")
    await settled(bus.open())
    try:
        with pytest.raises(ValueError, match=sentence):
            await settled(call(bus))
    finally:
        await settled(bus.close())


async def first(parts: Any) -> None:
    """The first part of a stream; that is where an async generator begins to run."""
    if inspect.isasyncgen(parts):
        await anext(parts)
    else:
        next(parts)


SECONDS = ["abc", -1, float("nan"), 1e10, b"1", True]


def giving(call: str, payload: Any, name: str) -> Call:
    return lambda bus, value: getattr(bus, call)("it", payload, **{name: value})


OPTIONS: list[tuple[str, str, list[Any], str]] = [
    *(("send", name, SECONDS, f"{name} must be 0 to ") for name in ("timeout", "ttl")),
    ("send", "ttl", [None], "ttl must be 0 to "),
    *(("request", name, SECONDS, f"{name} must be 0 to ") for name in ("timeout", "ttl")),
    *((call, "node", ["", "pump", b"x", 0], "node must be a node's id") for call in ("send", "request")),
    ("send", "confirm", ["no", 1, None], "confirm must be True or False, not "),
    ("publish", "wait", [5, "no", None], "wait must be True or False, not "),
    ("publish", "best_effort", [5, "no", None], "best_effort must be True or False, not "),
]
WRONG: dict[str, tuple[Call, list[Any], str]] = {
    f"{call} {payload!r} {name} {values[0]!r}": (giving(call, payload, name), values, sentence)
    for payload in (b"raw", 1)
    for call, name, values, sentence in OPTIONS
} | {
    "receive": (
        lambda bus, value: bus.subscribe("it").receive(timeout=value),
        SECONDS,
        "timeout must be 0 to ",
    ),
    "stream's window": (
        lambda bus, value: first(bus.request_stream("it", window=value)),
        ["x", 0, -1, 1.5, 40_000, True, None],
        "window must be ",
    ),
    "stream's node": (
        lambda bus, value: first(bus.request_stream("it", node=value)),
        ["", b"abc"],
        "node must be a node's id",
    ),
    "trace's node": (
        lambda bus, value: bus.trace("it", node=value),
        ["", b"abc"],
        "node must be a node's id",
    ),
    "trace's timeout": (lambda bus, value: bus.trace("it", timeout=value), SECONDS, "timeout must be 0 to "),
    "close": (lambda bus, value: bus.close(timeout=value), SECONDS, "timeout must be 0 to "),
    "register's types": (
        lambda bus, value: bus.register("it", types=value),
        [5, "Reading", "Reading | Alarm", [5], list[int], None | int],
        r"types takes message classes, as in types=Reading \| Alarm|a receiver accepts declared types",
    ),
    "serve's types": (
        lambda bus, value: bus.serve("it", print, types=value),
        [int, 5, int | str],
        r"types takes message classes, as in types=Reading \| Alarm|a receiver accepts declared types",
    ),
    "tap": (
        lambda bus, value: type(bus)(ipc=False, tap=value),
        ["no", 1, 0],
        "tap must be True or False, not ",
    ),
    "label": (
        lambda bus, value: type(bus)(ipc=False, label=value),
        ["x" * 65],
        "a label must have at most 64",
    ),
    "node_id": (
        lambda bus, value: type(bus)(ipc=False, node_id=value),
        [b"x", b"", "x" * 16],
        "node_id must be 16 bytes",
    ),
    "transit": (
        lambda bus, value: type(bus)(ipc=False, leaf=True, transit=value),
        [True],
        "a leaf never forwards",
    ),
}


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_argument_is_an_error_at_once_and_the_same_in_both(make: Any, name: str) -> None:
    call, values, sentence = WRONG[name]
    bus = make(ipc=False)
    await settled(bus.open())
    try:
        for value in values:
            with pytest.raises((ValueError, TypeError), match=f"^{sentence}") as caught:
                await settled(call(bus, value))
            assert type(caught.value) in (ValueError, TypeError)  # none of the core's own
        assert not any(found.name == "it" and found.kind != "broadcast" for found in bus.endpoints())
    finally:
        await settled(bus.close())


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
async def test_no_node_in_particular_is_none_or_no_bytes(make: Any) -> None:
    bus = make(ipc=False)
    await settled(bus.open())
    try:
        bus.serve("it", lambda request: request.payload)
        for node in (None, b"", bus.id):
            await settled(bus.send("it", b"x", node=node))
            asked = bus.request("it", b"x", node=node)
            assert (await asked if inspect.isawaitable(asked) else asked) == b"x"
    finally:
        await settled(bus.close())


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
@pytest.mark.parametrize("scheme", ["tcp", "ws"])
async def test_options_of_none_are_as_if_they_were_not_given(make: Any, scheme: str) -> None:
    dialled = dict.fromkeys(["token", "realm", "cost", "cafile", "tls", "headers", "proxy"])
    listened = dict.fromkeys(["certificate", "key", "tls", "origins", "pages", "connections_max"])
    one, other = make(ipc=False), make(ipc=False)
    await settled(one.open())
    await settled(other.open())
    try:
        listener = one.listen(f"{scheme}://127.0.0.1:0", **listened)
        listener = await listener if inspect.isawaitable(listener) else listener
        link = other.connect(listener.url, **dialled)
        link = await link if inspect.isawaitable(link) else link
        assert link.state == "connected"
        assert (
            "proxy" not in link._dialling.options.driver or scheme == "ws"
        )  # where it says: none, whatever is set
        again = other.connect(listener.url, **({"proxy": None} if scheme == "ws" else {}))
        assert (await again if inspect.isawaitable(again) else again) is link
    finally:
        await settled(other.close())
        await settled(one.close())


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
def test_what_a_bus_is_made_with(make: Any) -> None:
    with pytest.raises(TypeError, match=r"a label is text \(str\), or None for the program's name; got int"):
        make(label=5)
    with pytest.raises(ValueError, match="a label is text in UTF-8"):
        make(label="\ud800")
    with pytest.raises(TypeError, match=r"limits must be a busway\.Limits, not 5"):
        make(limits=5)


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
async def test_a_directory_that_cannot_be_names_the_variable(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUSWAY_DIR", "/sys/busway")
    bus = make()
    with pytest.raises(OSError, match="set BUSWAY_DIR to a directory of your own"):
        await settled(bus.open())


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
async def test_a_bus_that_could_not_open_is_closed(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls `open` has nothing to close then: at the end of its loop no bus is said to be open."""
    monkeypatch.setenv("BUSWAY_DIR", "/sys/busway")
    bus = make()
    with pytest.raises(OSError, match="set BUSWAY_DIR"):
        await settled(bus.open())
    with pytest.raises(busway.BusClosed):
        await settled(bus.open())


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
async def test_who_registers_twice_is_told_which_name(make: Any) -> None:
    bus = make(ipc=False)
    await settled(bus.open())
    try:
        bus.register("lab/log")
        with pytest.raises(busway.EndpointTaken, match=r"lab/log: this node has that endpoint already"):
            bus.register("lab/log")
    finally:
        await settled(bus.close())


@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
async def test_a_file_of_authorities_that_is_not_there_is_named(make: Any, tmp_path: Path) -> None:
    bus = make(ipc=False)
    await settled(bus.open())
    try:
        with pytest.raises(FileNotFoundError, match=r"cannot read cafile='.*nosuch\.pem': No such file"):
            await settled(bus.connect("wss://127.0.0.1:1", cafile=tmp_path / "nosuch.pem"))
    finally:
        await settled(bus.close())
