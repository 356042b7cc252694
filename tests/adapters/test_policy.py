"""Policies of running buses: what is denied is denied, what they grant is bounded, as the policy says now."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import busway
from busway import AsyncBus, Key
from busway.adapters.guarded import Bucket, GuardedRunner, Pace
from busway.adapters.permissions import is_beyond
from busway.board_keys import id_of_board, make_board_key
from busway.protocol import Guard, codes
from busway.testing import Network
from tests.adapters.tools import channels, join, knows, sees, until
from tests.protocol.nets import Liar, Mesh, alias, bind, id_of, key, message, retract, routes, u16, update
from tests.protocol.pairs import E

LOOPBACK = "tcp://127.0.0.1:0"
SORTS = [LOOPBACK, "ws://127.0.0.1:0"]
TOKEN = "a token that all of them know"


@pytest.fixture(autouse=True)
def nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BUSWAY_KEY", "BUSWAY_TRUST", "BUSWAY_TOKEN", "BUSWAY_POLICY"):
        monkeypatch.delenv(name, raising=False)


@contextlib.asynccontextmanager
async def opened(*buses: AsyncBus) -> AsyncIterator[tuple[AsyncBus, ...]]:
    async with contextlib.AsyncExitStack() as stack:
        for bus in buses:
            await stack.enter_async_context(bus)
        yield buses


def bus(**options: Any) -> AsyncBus:
    return AsyncBus(ipc=False, **options)


def written(path: Path, text: str) -> Path:
    (path / "policy.toml").write_text(text)
    return path / "policy.toml"


async def reason(call: Awaitable[object]) -> str:
    """Why a call ended; "" if it did well."""
    try:
        await call
    except busway.Undeliverable as error:
        return error.reason_name
    return ""


async def becomes(wanted: str, of: AsyncBus, name: str) -> None:
    """Soon requests end so."""
    found = "nothing"
    for _ in range(600):
        found = await reason(of.request(name, b""))
        if found == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{found}, not {wanted}")


CALLS = """
[[rule]]
who = { key = "pump" }
call = ["lab/light"]
see = ["lab/*"]
"""


@pytest.mark.parametrize("url", SORTS)
async def test_calls_are_denied_and_allowed_again(tmp_path: Path, url: str) -> None:
    """By the name that the trust file has for a key; what is denied may be seen, and its reason."""
    pump, other = Key.new(), Key.new()
    path = written(tmp_path, CALLS)
    trust = tmp_path / "trust.toml"
    trust.write_text(
        f'[pump]\nkey = "{pump.text}"\nrole = "router"\n[other]\nkey = "{other.text}"\nrole = "router"\n'
    )
    async with opened(bus(key=Key.new(), trust=trust, policy=path), bus(key=pump), bus(key=other)) as (
        here,
        one,
        two,
    ):
        for name in ("lab/light", "lab/door", "office/door"):
            here.serve(name, lambda request: request.payload, realm="global")
        listener = await here.listen(url)
        await one.connect(listener.url)
        await two.connect(listener.url)
        assert await one.request("lab/light", b"1") == b"1"
        assert await reason(one.request("lab/door", b"1")) == "NO_PERMISSION"
        assert await reason(one.send("lab/light", b"1", confirm=True)) == "NO_PERMISSION"
        assert await reason(one.request("office/door", b"1")) == "NO_ENDPOINT"
        for name in ("lab/light", "lab/door", "office/door"):  # no rule is for it
            assert await two.request(name, b"2") == b"2"
        assert here.node.counters["denied"] >= 2

        path.write_text(CALLS.replace("lab/light", "*/door"))
        await becomes("", one, "office/door")
        assert await one.request("lab/door", b"1") == b"1"
        assert await reason(one.request("lab/light", b"1")) == "NO_PERMISSION"
        path.write_text(CALLS)
        await until(lambda: not sees(one, "office/door"))
        await becomes("", one, "lab/light")
        trust.write_text(trust.read_text().replace("[pump]", "[x]").replace("[other]", "[pump]"))
        await becomes("NO_PERMISSION", two, "lab/door")
        assert await one.request("lab/door", b"1") == b"1"
        assert [link.state for link in here.links()] == ["connected"] * 2


async def test_what_the_caller_is_told() -> None:
    policy = {"rule": [{"who": "*", "call": [], "see": "**"}]}
    async with opened(bus(policy=policy, label="gate 7"), bus()) as (here, there):
        here.serve("lab/door", lambda request: None)
        await join(here, there, "localnet")
        with pytest.raises(busway.Undeliverable) as caught:
            await there.request("lab/door")
        text = str(caught.value)
        assert "lab/door" in text
        assert f"the policy of gate 7 {here.id.hex()[:8]} does not allow it" in text
        assert "busway policy explain" in text
        assert text.endswith("(NO_PERMISSION)")
        await there.send("lab/door")
        await until(lambda: there.undeliverable)
        assert f"the policy of gate 7 {here.id.hex()[:8]} does not" in str(there.undeliverable[0].error)
    hidden = {"rule": [{"who": "*", "call": []}]}
    async with opened(bus(policy=hidden), bus()) as (here, there):
        here.serve("lab/door", lambda request: None)
        await join(here, there, "localnet")
        with pytest.raises(busway.Undeliverable, match="or a policy hides it; `busway doctor` may say"):
            await there.request("lab/door")


# In which role, and how often


async def refusal(of: AsyncBus, url: str, **options: Any) -> busway.LinkRefused:
    with pytest.raises(busway.LinkRefused) as caught:
        await of.connect(url, **options)
    return caught.value


@pytest.mark.parametrize("url", SORTS)
async def test_role_of_a_key_is_narrowed(url: str, caplog: pytest.LogCaptureFixture) -> None:
    pump, other = Key.new(), Key.new()
    policy = {"rule": [{"who": {"key": pump.text}, "role": "leaf"}]}
    trust = {pump.text: "router", other.text: "router"}
    async with opened(
        bus(key=Key.new(), trust=trust, policy=policy),
        bus(key=pump),
        bus(key=pump, leaf=True),
        bus(key=other),
    ) as (here, router, leaf, free):
        listener = await here.listen(url)
        assert (await refusal(router, listener.url)).code == codes.NOT_A_ROUTER
        await leaf.connect(listener.url)
        await free.connect(listener.url)
        assert knows(here, pump.id, other.id)
    assert "or its role in the trust file or policy" in caplog.text


@pytest.mark.parametrize(
    "who", [{"link": "tcp"}, {"listener": "tcp://**"}, {"listener": "tcp://localhost:0"}, "*"]
)
async def test_role_of_those_without_a_key_is_narrowed(who: Any) -> None:
    """By the link, and by the listener as it was asked for and as it is."""
    async with opened(bus(policy={"rule": [{"who": who, "role": "leaf"}]}), bus(), bus(leaf=True)) as (
        here,
        router,
        leaf,
    ):
        listener = await here.listen("tcp://localhost:0", token=TOKEN)
        assert (await refusal(router, listener.url, token=TOKEN)).code == codes.NOT_A_ROUTER
        await leaf.connect(listener.url, token=TOKEN)


async def test_role_is_narrowed_where_nothing_is_proved() -> None:
    """Unix sockets have no handshake before HELLO."""
    policy = {"rule": [{"who": {"link": "ipc"}, "role": "leaf"}]}
    async with opened(AsyncBus(policy=policy), AsyncBus(leaf=True)) as (here, leaf):
        await until(lambda: knows(here, leaf.id))
        async with AsyncBus() as router:
            await asyncio.sleep(0.1)
            assert not knows(here, leaf.id, router.id)


async def test_role_is_looked_at_again(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    async with opened(bus(policy=path), bus(), bus(leaf=True)) as (here, router, leaf):
        listener = await here.listen(LOOPBACK)
        await leaf.connect(listener.url)
        link = await router.connect(listener.url, retry=None)
        path.write_text('[[rule]]\nwho = "*"\nrole = "leaf"\n')
        await until(lambda: link.state == "closed")
        assert "by its policy now only leaves may come: join with leaf=True" in link.error
        assert knows(here, leaf.id)


async def test_one_key_has_so_many_links() -> None:
    pump, other = Key.new(), Key.new()
    policy = {
        "groups": {"plant": [pump.text, other.text]},
        "rule": [{"who": {"group": "plant"}, "quota": {"links": 2}}],
    }
    pumps = [bus(key=pump, node_id=bytes([number]) * 16) for number in (1, 2, 3)]
    async with opened(bus(policy=policy), bus(key=other), *pumps) as (here, one, *shared):
        url = (await here.listen(LOOPBACK)).url
        links = [await each.connect(url) for each in shared[:2]]
        refused = await refusal(shared[2], url, retry=None)
        assert refused.code == codes.MESH_FULL
        assert "the policy there grants 2 links" in str(refused)
        await one.connect(url)  # another key has its own
        await links[0].close()
        await until(lambda: len(here.links()) == 2)
        await shared[2].connect(url)


async def test_strangers_share_a_number_of_links() -> None:
    """They have as many keys as they like."""
    policy = {"rule": [{"who": {"link": "tcp"}, "quota": {"links": 2}}]}
    known = Key.new()
    trust = {known.text: "router"}
    async with opened(
        bus(policy=policy, trust=trust),
        bus(key=known),
        bus(key=Key.new(), leaf=True),
        bus(leaf=True),
        bus(leaf=True),
    ) as (here, friend, one, two, three):
        url = (await here.listen(LOOPBACK, open=True)).url
        await one.connect(url)
        await two.connect(url)
        assert (await refusal(three, url, retry=None)).code == codes.MESH_FULL
        await friend.connect(url)


async def test_a_link_that_is_made_anew_is_not_one_too_many() -> None:
    """Of a program that was started anew, say, before its old link was missed."""
    policy = {"rule": [{"who": "*", "quota": {"links": 1}}]}
    async with opened(bus(policy=policy), bus(node_id=b"t" * 16), bus(node_id=b"t" * 16)) as (here, old, new):
        url = (await here.listen(LOOPBACK)).url
        link = await old.connect(url, retry=None)
        await new.connect(url)
        await until(lambda: link.state == "closed")
        assert [each.state for each in here.links()] == ["connected"]


async def test_links_that_this_side_dials_are_not_incoming() -> None:
    policy = {"rule": [{"who": "*", "quota": {"links": 0}}]}
    async with opened(bus(policy=policy), bus()) as (here, there):
        await here.connect((await there.listen(LOOPBACK)).url)
        assert (await refusal(there, (await here.listen(LOOPBACK)).url, retry=None)).code == codes.MESH_FULL


# How fast


def test_a_bucket_is_filled_with_time() -> None:
    bucket = Bucket(100, 5.0)
    assert (bucket.level, bucket.wait()) == (100, 0)
    bucket.level -= 350
    assert bucket.wait() == 2.5
    bucket.fill(6.0)
    assert bucket.wait() == 1.5
    bucket.fill(60.0)
    assert bucket.level == 100


def test_pace() -> None:
    both = Pace(10, 1000, 0.0)
    assert both.allowance(0.0) == 512  # few messages are left
    assert both.spend(900, 5) == 0
    assert both.spend(600, 20) == 1.5
    assert both.allowance(1.5) == 512
    assert Pace(-1, 100_000, 0.0).allowance(0.0) == 65536
    assert Pace(-1, 10_000, 0.0).allowance(0.0) == 10_000
    assert Pace(-1, -1, 0.0).spend(10**9, 10**9) == 0


async def seconds(receiver: Any, count: int) -> float:
    """How long it takes until so many messages have come."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    for _ in range(count):
        await receiver.receive()
    return clock() - begun


@pytest.mark.jumps(needed=True)
@pytest.mark.parametrize(
    ("quota", "count", "size", "least", "most"),
    [
        ({"messages": 100}, 1000, 10, 7.5, 11.0),
        ({"bytes": 10_000}, 100, 1000, 7.5, 12.0),
        ({"messages": 10, "bytes": 5000}, 100, 10, 5.5, 12.0),
        ({}, 1000, 10, 0.0, 0.5),
    ],
)
async def test_rate_is_kept_and_nothing_lost(
    quota: dict[str, int], count: int, size: int, least: float, most: float
) -> None:
    policy = {"rule": [{"who": "*", "quota": quota, "role": "router"}]}
    async with opened(bus(policy=policy), bus()) as (here, there):
        receiver = here.register("lab/log", realm="userspace")
        await join(here, there)
        await asyncio.sleep(10)  # what was granted and not used is not saved up

        async def send() -> None:
            for number in range(count):
                await there.send("lab/log", number.to_bytes(size, "big"))

        sending = asyncio.create_task(send())
        clock = asyncio.get_running_loop().time
        begun = clock()
        numbers = [int.from_bytes((await receiver.receive()).payload, "big") for _ in range(count)]
        took = clock() - begun
        await sending
        assert numbers == list(range(count))
        assert least <= took <= most


async def joined(one: AsyncBus, two: AsyncBus) -> None:
    """By a link in memory on which both say every 5 s that they live."""
    here, there = channels("userspace")  # in the open, so that what is read can be cut anywhere
    here.address = there.address = "line://pair"
    await asyncio.gather(one.attach(here).ready, two.attach(there).ready)


@pytest.mark.jumps(needed=True)
async def test_who_is_slowed_down_is_not_taken_for_dead_and_slows_nobody_else() -> None:
    policy = {"rule": [{"who": "*", "quota": {"messages": 1}, "role": "router"}]}
    async with opened(bus(policy=policy), bus(), bus()) as (here, loud, quiet):
        receiver = here.register("lab/log")
        here.serve("lab/echo", lambda request: request.payload)
        await joined(here, loud)
        await joined(here, quiet)
        clock = asyncio.get_running_loop().time
        begun = clock()
        sending = asyncio.create_task(send_many(loud, 200))
        for _ in range(10):
            await asyncio.sleep(10)
            assert await quiet.request("lab/echo", b"x") == b"x"
        assert [(await receiver.receive()).payload for _ in range(200)] == [b"x"] * 200
        await sending
        assert clock() - begun > 110  # with pauses of more than 15 s, which is how long silence is borne
        assert [link.state for link in here.links()] == ["connected"] * 2


async def send_many(of: AsyncBus, count: int) -> None:
    for _ in range(count):
        await of.send("lab/log", b"x")


@pytest.mark.jumps(needed=True)
async def test_who_rests_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver with a layer of its own may have read more than it gave, and would have its turn at once."""
    turns = []
    real = GuardedRunner._take_turn

    def take_turn(runner: GuardedRunner) -> None:
        turns.append(runner)
        assert len(turns) < 500
        real(runner)

    monkeypatch.setattr(GuardedRunner, "_take_turn", take_turn)
    async with opened(bus(policy=rule(quota={"messages": 10})), bus()) as (here, there):
        receiver = here.register("lab/log", realm="userspace")
        ours, theirs = channels()
        monkeypatch.setattr(ours, "wants_write", False, raising=False)
        monkeypatch.setattr(ours, "has_data", property(lambda _: True), raising=False)
        await asyncio.gather(here.attach(ours).ready, there.attach(theirs).ready)
        sending = asyncio.create_task(send_many(there, 100))
        assert await seconds(receiver, 100) > 5
        await sending
        assert len(turns) < 100


@pytest.mark.jumps(needed=True)
async def test_rate_follows_the_policy(tmp_path: Path) -> None:
    slow = '[[rule]]\nwho = "*"\nquota = { messages = 10 }\n'
    path = written(tmp_path, slow)
    async with opened(bus(policy=path), bus()) as (here, there):
        receiver = here.register("lab/log", realm="userspace")
        await join(here, there)
        sending = asyncio.create_task(send_many(there, 2000))
        assert await seconds(receiver, 200) > 10
        path.write_text('default = "open"')
        assert await seconds(receiver, 1800) < 60
        await sending


@pytest.mark.parametrize("url", SORTS)
def test_bus_with_threads_goes_by_it_too(url: str) -> None:
    rules = [{"who": "*", "send": "lab/log", "see": "**", "quota": {"messages": 200}}]
    with busway.Bus(ipc=False, policy={"rule": rules}) as here, busway.Bus(ipc=False) as there:
        receiver = here.register("lab/log", realm="global")
        here.serve("lab/door", lambda request: None, realm="global")
        there.connect(here.listen(url).url)
        with pytest.raises(busway.Undeliverable, match="NO_PERMISSION"):
            there.request("lab/door")
        begun = time.monotonic()
        for number in range(600):
            there.send("lab/log", b"%d" % number)
        assert [receiver.receive(timeout=60).payload for _ in range(600)] == [b"%d" % n for n in range(600)]
        # It cannot be less, however fast the machine is: a read brings 256 at the most, and what it brings
        # beyond the quota is waited for.
        assert time.monotonic() - begun > 0.3


@pytest.mark.jumps(needed=True)
async def test_who_rests_does_not_hold_up_who_leaves() -> None:
    """The goodbye that is waited for is behind what is not read yet."""
    async with opened(bus(policy=rule(quota={"messages": 1})), bus()) as (here, there):
        receiver = here.register("lab/log", realm="userspace")
        await join(here, there)
        sending = asyncio.create_task(send_many(there, 200))
        await receiver.receive()
        clock = asyncio.get_running_loop().time
        begun = clock()
        await here.close()
        assert clock() - begun <= 1
        sending.cancel()


@pytest.mark.jumps(needed=True)
async def test_who_sends_too_much_is_read_no_further() -> None:
    """What waits stays with its sender: nothing piles up here."""
    policy = {"rule": [{"who": "*", "quota": {"bytes": 5000}}]}
    async with opened(bus(policy=policy), bus()) as (here, there):
        here.subscribe("lab/log", realm="userspace", policy="drop_oldest")
        await join(here, there)
        (link,) = here.node.connections
        before = link.bytes_in
        for _ in range(100):
            await there.publish("lab/log", bytes(10_000), realm="userspace")
        await asyncio.sleep(10)
        assert link.bytes_in - before < 65_000
        (theirs,) = there.node.connections
        assert theirs.queued_bytes() > 100_000


# What is announced, and what is told


async def test_board_is_called_as_its_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    board = id_of_board(make_board_key(keys / "pump.key"))
    policy = {"rule": [{"who": {"key": "pump"}, "call": "a"}]}
    async with opened(bus(policy=policy, boards=keys), bus(node_id=board)) as (here, there):
        here.serve("a", lambda request: b"a")
        here.serve("b", lambda request: b"b")
        await join(here, there)  # within the machine an id needs no proof
        assert await there.request("a") == b"a"
        assert await reason(there.request("b")) == "NO_ENDPOINT"


def rule(who: Any = "*", **fields: Any) -> dict[str, Any]:
    return {"rule": [{"who": who, **fields}]}


async def test_what_may_not_be_served_is_not_there(tmp_path: Path) -> None:
    text = '[[rule]]\nwho = "*"\nserve = ["lab/*"]\nsubscribe = ["lab/*"]\nsee = ["**"]\nrealm = "localnet"\n'
    path = written(tmp_path, text)
    async with opened(bus(policy=path, transit=True), bus(), bus()) as (here, there, beyond):
        there.serve("lab/light", lambda request: b"on")
        there.serve("office/light", lambda request: b"off")
        there.serve("lab/wide", lambda request: b"on", realm="global")
        there.subscribe("office/news")
        await join(here, there, "localnet")
        await join(here, beyond, "localnet")
        assert await here.request("lab/light") == b"on"
        assert await beyond.request("lab/light") == b"on"
        for each in (here, beyond):
            assert [sees(each, name) for name in ("office/light", "lab/wide", "office/news")] == [False] * 3
            assert await reason(each.request("office/light")) == "NO_ENDPOINT"
        assert here.node.counters["entries_denied"] >= 3
        path.write_text(text.replace('"lab/*"', '"**"'))
        await until(lambda: all(sees(each, "office/light") for each in (here, beyond)))
        assert await beyond.request("office/light") == b"off"
        path.write_text(text)
        await until(lambda: not any(sees(each, "office/light") for each in (here, beyond)))
        assert await reason(beyond.request("office/light")) == "NO_ENDPOINT"


async def test_what_may_not_be_published_is_dropped_and_missed_by_nobody(tmp_path: Path) -> None:
    text = rule(publish=["lab/level"], see="**")
    async with opened(bus(policy=text), bus()) as (here, there):
        levels = here.subscribe("lab/level")
        alarms = here.subscribe("lab/alarm")
        await join(here, there, "localnet")
        for number in range(5):
            await there.publish("lab/alarm", b"a")
            await there.publish("lab/level", b"%d" % number)
        got = [await levels.receive() for _ in range(5)]
        assert [message.payload for message in got] == [b"0", b"1", b"2", b"3", b"4"]
        assert alarms.missed == 0
        assert here.node.counters["denied"] >= 1
        await here.publish("lab/alarm", b"mine")  # nobody asks about oneself
        assert (await alarms.receive()).payload == b"mine"


async def test_a_pattern_passes_by_no_policy(tmp_path: Path) -> None:
    text = rule(subscribe=["lab/*"], publish=["lab/level"], see=[])
    async with opened(bus(policy=text), bus()) as (here, there):
        everything = there.subscribe("**")
        secrets = there.subscribe("secret/**")
        mine = here.subscribe("lab/**")
        await join(here, there, "localnet")
        assert not sees(here, "secret/**")  # none of its names may be subscribed to
        for name in ("secret/code", "lab/1/level", "lab/level"):
            await here.publish(name, name)
        message = await everything.receive()
        assert (message.name, message.missed) == ("lab/level", 0)
        for name in ("lab/alarm", "lab/level"):
            await there.publish(name, name)
        found = [(await mine.receive()).name for _ in range(3)]
        assert found == ["lab/1/level", "lab/level", "lab/level"]
        own = [(await everything.receive()).name for _ in range(2)]  # its own, of which nobody is asked
        assert own == ["lab/alarm", "lab/level"]
        assert len(everything._core.queue) == 0
        assert len(secrets._core.queue) == 0


async def test_node_behind_a_router_is_known_by_its_id() -> None:
    """And by the link of the router, whose word is taken."""
    pump, other = Key.new(), Key.new()
    mine = {"who": {"key": pump.text, "link": "tcp"}, "call": ["a"]}
    policy = {"rule": [mine, {"who": "*", "call": "b", "see": "*"}]}
    async with opened(bus(policy=policy), bus(transit=True), bus(key=pump), bus(key=other)) as (
        here,
        router,
        one,
        two,
    ):
        for name in ("a", "b"):
            here.serve(name, lambda request: request.payload)
        url = (await router.listen(LOOPBACK)).url
        for each in (here, one, two):
            await each.connect(url)
        await until(lambda: sees(one, "b") and sees(two, "b"))
        assert await one.request("a", b"1") == b"1"
        for each in (one, two):
            assert await each.request("b", b"1") == b"1"
        assert await reason(two.request("a", b"1")) == "NO_PERMISSION"


async def test_programs_of_the_user_are_told_apart_by_link_and_user() -> None:
    for uid, allowed in ((os.geteuid(), True), (os.geteuid() + 1, False)):
        policy = {"default": "closed", **rule({"link": "ipc", "uid": uid}, call="lab/**", serve="**")}
        async with opened(AsyncBus(policy=policy), AsyncBus()) as (here, there):
            here.serve("lab/light", lambda request: b"on")
            call = there.request("lab/light", node=here.id, ttl=5 if allowed else 0)
            assert await reason(call) == ("" if allowed else "NO_ENDPOINT")


async def test_endpoint_of_another_id_does_not_pass_by_a_name() -> None:
    """A message type shows a name of its own, and is addressed by its UUID."""
    policy = rule(call="lab/light", see="**")
    async with opened(bus(policy=policy), bus()) as (here, there):
        here.serve(Light, lambda request: b"on")
        await join(here, there, "localnet")
        assert await reason(there.request(Light, Light())) == "NO_PERMISSION"


@busway.message("3f2504e0-4f89-41d3-9a0c-0305e82c3301", name="lab/light")
@dataclass
class Light:
    """A type whose UUID is not that of its name."""


async def test_endpoint_without_a_name_does_not_pass_by_a_pattern() -> None:
    """Who leaves out a name that it may not serve would else be found by those who call it."""
    policy = {"rule": [{"who": "*", "serve": ["*"], "call": ["**"]}]}
    async with Network() as network:
        here, there = await network.bus("here", policy=policy), await network.bus("there")
        await network.link(here, there)
        there.serve(busway.endpoint_id("lab/alarm"), lambda request: b"all is well")
        there.serve("light", lambda request: b"on")
        await until(lambda: sees(here, "light"))
        assert await here.request("light") == b"on"
        assert await reason(here.request("lab/alarm")) == "NO_ENDPOINT"


async def test_environment_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, '[[rule]]\nwho = "*"\ncall = []\nsee = "**"\n')
    monkeypatch.setenv("BUSWAY_POLICY", str(path))
    async with opened(bus(), bus(policy=False)) as (here, there):
        here.serve("a", lambda request: None)
        there.serve("b", lambda request: b"b")
        await join(here, there)
        assert await reason(there.request("a")) == "NO_PERMISSION"
        assert not sees(here, "b")
    path.write_text("[[rule]]\n")
    with pytest.raises(busway.PolicyFileError, match="line 1"):
        bus()
    assert bus(policy=False).node.guard is None


async def test_what_is_wrong_later_is_told_and_what_held_before_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, '[[rule]]\nwho = "*"\ncall = []\nsee = "**"\n')
    async with opened(bus(policy=path), bus()) as (here, there):
        here.serve("a", lambda request: None)
        await join(here, there)
        path.write_text("[[rule]]\n")
        await until(lambda: "line 1: a rule needs who" in caplog.text)
        assert "what it said before holds" in caplog.text
        assert await reason(there.request("a")) == "NO_PERMISSION"


async def test_names_that_nobody_has_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the start, and what is new later; with line, and what to do."""
    trust = tmp_path / "trust.toml"
    trust.write_text(f'[pump]\nkey = "{Key.new().text}"\nrole = "leaf"\n')
    path = written(tmp_path, '[groups]\na = ["pump",\n "pmup"]\n[[rule]]\nwho = { group = "a" }\nsee = "x"\n')
    make_board_key(str(tmp_path / "tap.key"))
    async with opened(bus(policy=path, trust=trust, boards=tmp_path), bus()) as (here, there):
        told = f"{path}:3: what the policy says of 'pmup' is for nobody"
        assert [told in each.getMessage() for each in caplog.records] == [True]
        assert f"the trust file {trust} has no such entry" in caplog.text
        await join(here, there)
        text = path.read_text()
        path.write_text(text + '[[rule]]\nwho = { key = ["tap", "rap"] }\nsee = "y"\n')
        await until(lambda: f"{path}:8: what the policy says of 'rap'" in caplog.text)
        path.write_text(text + '\n[[rule]]\nwho = { key = ["rap", "cap"] }\nsee = "z"\n')
        await until(lambda: f"{path}:9: what the policy says of 'cap'" in caplog.text)
    assert len(caplog.records) == 3


def test_names_without_a_trust_file(caplog: pytest.LogCaptureFixture) -> None:
    with busway.Bus(ipc=False, policy={"rule": [{"who": {"key": "pump"}, "see": "x"}]}):
        pass
    (told,) = caplog.records
    assert told.getMessage().startswith("policy=: what the policy says of 'pump' is for nobody: this program")
    assert "BUSWAY_TRUST" in told.getMessage()


async def test_names_of_the_environment_count_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For those behind a router of this machine."""
    pump = Key.new()
    trust = tmp_path / "trust.toml"
    trust.write_text(f'[pump]\nkey = "{pump.text}"\nrole = "leaf"\n')
    monkeypatch.setenv("BUSWAY_TRUST", str(trust))
    policy = {"rule": [{"who": {"key": "pump", "link": "beyond"}, "call": "a"}]}
    async with opened(bus(policy=policy), bus(transit=True), bus(key=pump)) as (here, router, one):
        monkeypatch.delenv("BUSWAY_TRUST")  # the others have none
        await join(here, router)
        await one.connect((await router.listen(LOOPBACK)).url)
        for name in ("a", "b"):
            here.serve(name, lambda request: request.payload)
        await until(lambda: sees(one, "a"))
        assert await one.request("a", b"1") == b"1"
        assert await reason(one.request("b", b"1")) == "NO_PERMISSION"
    assert not caplog.records


async def test_trust_of_the_environment_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BUSWAY_TRUST", str(tmp_path / "none.toml"))
    async with bus(policy={"rule": [{"who": {"key": "pump"}, "see": "x"}]}):
        assert "none.toml: No such file or directory: `busway pair` makes one" in caplog.text


@pytest.mark.parametrize("leaf", [False, True])
async def test_who_comes_through_a_bridge_is_no_program_of_this_machine(leaf: bool) -> None:
    """Though the link that it comes by is a Unix socket. A leaf of this machine behind a router is one."""
    near = {"who": {"link": "ipc", "uid": os.geteuid()}, "call": "**", "serve": "**"}
    far = {"who": {"link": "beyond"}, "call": "lab/light", "see": "**"}
    policy = {"default": "closed", "rule": [near, far]}
    async with opened(AsyncBus(policy=policy), AsyncBus(transit=True), bus(leaf=leaf)) as (
        here,
        bridge,
        there,
    ):
        here.serve("lab/light", lambda request: b"on")
        here.serve("lab/door", lambda request: b"open")
        await there.connect((await bridge.listen(LOOPBACK)).url)
        await until(lambda: leaf or sees(there, "lab/door"))
        assert await there.request("lab/light") == b"on"
        assert await reason(there.request("lab/door")) == "NO_PERMISSION"
        assert await bridge.request("lab/door") == b"open"
        async with AsyncBus(leaf=True) as program:
            assert await program.request("lab/door") == b"open"


def test_what_comes_when_its_way_is_lost_is_of_no_program_of_this_machine() -> None:
    """A router tells at once that a way is lost, and what the node has sent may come behind that."""
    net = Mesh()
    net.add("b")
    receiver = net["b"].register(E, codes.UNICAST, codes.GLOBAL)
    router = Liar(net, net["b"], realm=codes.USERSPACE, medium="ipc")
    seen: list[tuple[bytes, bool]] = []

    def may(link: Any, node_id: bytes, what: int, uuid: bytes, name: str, realm: int) -> bool:
        if what == codes.MAY_SEND:
            seen.append((node_id, is_beyond(link, node_id)))
        return what != codes.MAY_SEND or node_id == router.key[:16]

    net["b"].guard = Guard(may, lambda link, which: -1)
    router.say(routes(update(bind(8, key("f")), 1, codes.LOCALNET << 14 | 1)))
    for number, frames in ((1, ()), (2, (routes(retract(b"\x08")),))):
        router.say(*frames)
        router.say(message(codes.SEND, codes.HOW_SOURCE, 255, bind(9, key("f")), alias(1, E) + u16(number)))
    router.say(bytes((codes.MESSAGE, 1)) + u16(1))
    assert seen == [(id_of("f"), True)] * 2 + [(router.key[:16], False)]
    assert len(net.drain(net["b"], receiver)) == 1


async def test_sealed_messages_need_no_rule_but_for_their_name() -> None:
    one, two = Key.new(), Key.new()
    policy = {"default": "closed", **rule({"key": one.text}, send="lab/valve")}
    async with Network() as network:
        alice = await network.bus("a", key=one, seal=[two.text])
        bob = await network.bus("b", key=two, seal=[one.text], policy=policy)
        await network.link(alice, bob)
        valve = bob.register("lab/valve")
        bob.register("lab/door")
        sending = asyncio.create_task(alice.send("lab/valve", "open", sealed=True, confirm=True, ttl=1))
        message = await valve.receive()
        assert (message.payload, message.verified) == ("open", one.text)
        await sending
        other = alice.send("lab/door", "open", sealed=True, confirm=True, node=bob.id)
        assert await reason(other) == "NO_ENDPOINT"


@pytest.mark.jumps
async def test_leaf_behind_a_router_of_this_machine_is_of_this_machine() -> None:
    """From its first word: what it serves is told together with the way to it."""
    near = {"who": {"link": "memory"}, "serve": "lab/*"}
    policy = {"default": "closed", "rule": [near, {"who": {"link": "beyond"}, "serve": "far/*"}]}
    async with Network() as network:
        here = await network.bus("here", policy=policy)
        router = await network.bus("router", transit=True)
        leaf, far = await network.bus("leaf", leaf=True), await network.bus("far")
        for each in (leaf, far):
            for name in ("lab/a", "far/a"):
                each.serve(name, lambda request: request.payload, realm="localnet")
        await network.link(leaf, router)
        await network.link(far, router, realm="localnet")
        await network.link(here, router)
        await until(lambda: len(others(here)) == 2)
        assert others(here) == {("lab/a", leaf.id), ("far/a", far.id)}


def others(of: AsyncBus) -> set[tuple[str, bytes]]:
    """What a bus sees of others, and whose it is."""
    return {(found.name, found.node) for found in of.endpoints() if found.node != of.id}


async def test_quota_bounds_what_one_link_brings() -> None:
    """And nobody else is the poorer for it."""
    key = Key.new()
    policy = rule({"key": key.text}, quota={"entries": 2, "handlers": 1})
    async with opened(bus(policy=policy), bus(key=key), bus()) as (here, loud, other):
        gate = asyncio.Event()
        begun: list[bytes] = []

        @here.serve("lab/slow")
        async def slow(request: busway.Request[Any]) -> bytes:
            begun.append(request.source)
            await gate.wait()
            return b"done"

        for number in range(5):
            loud.serve(f"loud/{number}", lambda request: b"")
            other.serve(f"other/{number}", lambda request: b"")
        url = (await here.listen(LOOPBACK)).url
        for each in (loud, other):
            await each.connect(url)
        await until(lambda: sees(here, "other/4"))
        assert [sum(name.startswith(word) for name, _ in others(here)) for word in ("loud", "other")] == [
            2,
            5,
        ]
        callers = (loud, loud, other, other)
        calls = [asyncio.create_task(reason(each.request("lab/slow"))) for each in callers]
        await until(lambda: len(begun) == 3)
        assert begun.count(loud.id) == 1
        gate.set()
        assert await asyncio.gather(*calls) == [""] * 4
        assert begun.count(loud.id) == 2


@pytest.mark.jumps
async def test_what_changed_while_nobody_was_there_counts_for_the_first_who_comes(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    async with opened(bus(policy=path), bus(policy=False)) as (here, there):
        here.serve("lab/door", lambda request: b"")
        path.write_text('[[rule]]\nwho = "*"\ncall = []\nsee = "**"\n')
        await join(here, there)
        assert await reason(there.request("lab/door")) == "NO_PERMISSION"
