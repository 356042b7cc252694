"""The audit trail: what is told of who comes, goes and is refused, to whom, and that nobody can flood or
forge it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import Counter
from typing import Any
from uuid import UUID

import cbor2
import pytest

import busway
from busway import AsyncBus, Key, Message
from busway.adapters.audit import AUDIT_NAME, KEPT_MAX, LEFT_OUT_S, STRANGERS
from busway.adapters.audit_records import TEXT_MAX, Value, line
from busway.adapters.bus import host_of
from busway.adapters.incoming import INCOMING_OF_ADDRESS_MAX
from busway.adapters.sampling import SOURCES_MAX, FairSampler
from busway.names import endpoint_id
from busway.protocol import Guard, codes
from tests.adapters import threads_tools
from tests.adapters.test_log_lines import NASTY, SHOWN
from tests.adapters.tools import buses, join, sees, until

TOKEN = "mellow-otter-4f1e9c0a7d5b2e83"
LOOPBACK = "tcp://127.0.0.1:0"

Row = dict[str, Any]


def trail(bus: AsyncBus | busway.Bus) -> list[Row]:
    """What a bus keeps: what it was, beside its fields."""
    rows: list[Any] = host_of(bus).trail.rows()
    assert all(set(row) == {"time", "what", "fields"} for row in rows)
    return [{"what": row["what"], **row["fields"]} for row in rows]


def of(bus: AsyncBus | busway.Bus, what: str) -> list[Row]:
    return [row for row in trail(bus) if row["what"] == what]


def few(row: Row, *names: str) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in names)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "busway.audit")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.name == "busway.audit"]


# What is told --------------------


@pytest.mark.jumps(needed=True)
async def test_who_comes_and_goes_is_told(log: pytest.LogCaptureFixture) -> None:
    async with buses(1) as (here,):
        async with AsyncBus(ipc=False, label="guest", leaf=True) as guest:
            await join(guest, here)
            (joined,) = trail(here)
            names = ("what", "peer_label", "role", "realm", "protection", "dialled")
            assert few(joined, *names) == ("join", "guest", "leaf", "userspace", "local", False)
            assert few(trail(guest)[0], *names) == ("join", "a", "router", "userspace", "local", True)
            await asyncio.sleep(61)  # longer than a visit
        await until(lambda: of(here, "leave"))
        (left,) = of(here, "leave")
        assert few(left, "peer_label", "error", "by", "code") == ("guest", "GOODBYE", "peer", 0)
        assert left["seconds"] == pytest.approx(61, abs=0.1)
        assert left["bytes_in"] > 0
        assert left["link"] == joined["link"]
    told = [record for record in log.records if record.name == "busway.audit"]
    first: Any = next(record for record in told if record.busway["label"] == "a")  # type: ignore[attr-defined]
    assert first.levelno == logging.INFO
    assert first.busway.items() >= joined.items()
    assert set(first.busway) - set(joined) == {"time", "node", "label"}
    assert first.getMessage().startswith("join link=")
    assert " peer_label=guest " in first.getMessage()


@pytest.mark.jumps(needed=True)
async def test_short_visits_of_this_users_programs_are_kept_as_one(log: pytest.LogCaptureFixture) -> None:
    """Those of full nodes, and those that last, stay as they are. The log has all."""
    async with buses(1) as (here,):
        for seconds in (1, 1, 59, 61):
            async with AsyncBus(ipc=False, label=f"leaf {seconds}", leaf=True) as guest:
                await join(guest, here)
                await asyncio.sleep(seconds)
            await until(lambda: not here.links())
        async with AsyncBus(ipc=False, label="full") as guest:
            await join(guest, here)
        await until(lambda: not here.links())
        kept = [few(row, "what", "peer_label", "visits") for row in trail(here)]
        audit = here._host.trail
        assert audit._counts == Counter(sort for sort, _ in audit.kept)  # by which one gives way to others
    assert kept == [
        ("leave", None, 3),
        ("join", "leaf 61", None),
        ("leave", "leaf 61", None),
        ("join", "full", None),
        ("leave", "full", None),
    ]
    told = [line for line in lines(log) if line.endswith(" label=a")]
    assert sum(line.startswith("join ") for line in told) == 5
    assert sum(line.startswith("leave ") for line in told) == 5


async def test_a_denial_has_the_rule() -> None:
    policy = {"rule": [{"who": {"link": "ipc"}, "see": "**"}, {"who": "*", "call": [], "see": "**"}]}
    async with AsyncBus(ipc=False, policy=policy) as here, AsyncBus(ipc=False) as there:
        here.serve("lab/door", lambda request: None)
        await join(here, there)
        with contextlib.suppress(busway.Undeliverable):
            await there.request("lab/door")
        (denied,) = of(here, "denial")
        assert few(denied, "action", "name") == ("call", "lab/door")
        assert denied["why"] == "rule 2 says what they may do, and call lab/door is not among it"


@pytest.mark.jumps(needed=True)
async def test_the_rule_is_sought_only_for_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, for each denial: of a policy with 1,024 patterns that took 25 ms, and a message of 50 bytes."""
    policy = {"rule": [{"who": "*", "serve": ["lab/*"], "see": ["**"]}]}
    async with (
        AsyncBus(ipc=False, policy=policy) as here,
        AsyncBus(ipc=False, transit=True) as bridge,
        AsyncBus(ipc=False, label="far") as far,
    ):
        permissions = host_of(here).identity.permissions
        assert permissions is not None
        why = permissions.why
        sought = []

        def seek(*about: Any) -> Any:
            sought.append(about)
            return why(*about)

        monkeypatch.setattr(permissions, "why", seek)
        await join(bridge, here)
        await join(far, bridge, "localnet")
        for number in range(100):
            far.register(f"plant/{number}")
        await until(lambda: here.node.counters["entries_denied"] == 100)
        assert 0 < len(sought) == len(of(here, "denial")) <= STRANGERS[0] // 5


def test_threads_tell_the_same(log: pytest.LogCaptureFixture) -> None:
    with threads_tools.buses(2) as (a, b):
        (joined,) = trail(a)
        assert few(joined, "what", "peer_label", "protection") == (
            "join",
            "b",
            "open",
        )  # over a link of a test
        b.close()
        threads_tools.until(lambda: of(a, "leave"))
    assert sum(each.startswith("join ") for each in lines(log)) == 2
    assert sum(each.startswith("leave ") for each in lines(log)) == 2


async def test_refusals_are_told_at_both_sides() -> None:
    known, stranger = Key.new(), Key.new()
    async with (
        AsyncBus(ipc=False, trust={known.text: "leaf"}) as here,
        AsyncBus(ipc=False, key=stranger) as there,
        AsyncBus(ipc=False, key=known) as router,
    ):
        url = (await here.listen(LOOPBACK, token=TOKEN)).url
        for bus, token in ((there, TOKEN), (there, TOKEN[::-1]), (router, TOKEN)):
            with pytest.raises(busway.LinkRefused):
                await bus.connect(url, token=token)
        names = ("error", "by", "dialled", "key", "trusted")
        name = known.text[:15]
        assert [few(row, *names) for row in of(here, "refusal")] == [
            ("UNTRUSTED", "here", False, stranger.text, None),
            ("TOKEN", "here", False, None, None),
            ("NOT_A_ROUTER", "here", False, known.text, name),
        ]
        assert [few(row, "error", "by", "dialled") for row in of(there, "refusal")] == [
            ("UNTRUSTED", "peer", True),
            ("TOKEN", "peer", True),
        ]
        assert not of(here, "join")


async def test_who_gets_no_further_than_http_is_refused_and_who_wants_a_page_is_not() -> None:
    async with AsyncBus(ipc=False) as bus:
        url = (await bus.listen("ws://127.0.0.1:0", pages={"/page": ("text/plain", b"hello")})).url
        for path in ("/page", "/none"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
            await reader.read()
            writer.close()
        await until(lambda: of(bus, "refusal"))
        (row,) = trail(bus)
        assert few(row, "what", "error", "listener") == ("refusal", "OPENING", url)
        assert "There is nothing at /none" in row["text"]


@pytest.mark.jumps(needed=True)
async def test_an_id_that_is_taken_over_is_told() -> None:
    async with (
        AsyncBus(ipc=False) as here,
        AsyncBus(ipc=False, node_id=b"x" * 16, label="first") as first,
        AsyncBus(ipc=False, node_id=b"x" * 16, label="second") as second,
        AsyncBus(ipc=False, node_id=b"x" * 16, label="far") as far,
    ):
        await join(first, here)
        await join(second, here)
        (row,) = of(here, "displaced")
        assert few(row, "peer_label", "error", "by") == ("first", "REPLACED", "here")
        assert not of(here, "leave")
        with pytest.raises(busway.LinkRefused):
            await join(far, here, "localnet")
        (row,) = of(here, "refusal")
        assert few(row, "error", "by") == ("REPLACED", "here")


@pytest.mark.jumps(needed=True)
async def test_conflicts_of_names_are_told_by_who_keeps_and_who_loses() -> None:
    async with AsyncBus(ipc=False, label="here") as here, AsyncBus(ipc=False, label="there") as there:
        here.register("lab/log")
        await asyncio.sleep(10)
        there.register("lab/log")
        await join(there, here)
        names = ("name", "keeper", "peer_label", "about")
        assert [few(row, *names) for row in of(there, "conflict")] == [("lab/log", "peer", "here", "name")]
        assert [few(row, *names) for row in of(here, "conflict")] == [("lab/log", "here", "there", "name")]
        await here.close()
        await until(lambda: len(of(there, "conflict")) == 2)
        assert few(of(there, "conflict")[1], "name", "keeper") == ("lab/log", "here")


@pytest.mark.jumps(needed=True)
async def test_shares_that_are_exceeded_are_told_once_in_a_while() -> None:
    async with buses(2) as (here, there):
        here.node.directory.size = codes.DIRECTORY_MAX
        for number in range(3):
            there.register(f"lab/{number}")
        await until(lambda: of(here, "quota"))
        await asyncio.sleep(1)
        assert here.node.counters["entries_over"] == 3
        (row,) = of(here, "quota")
        assert few(row, "quota", "peer_label") == ("entries", "b")
        here.node.directory.size = 0


async def test_incoming_links_that_are_too_many_are_told() -> None:
    async with AsyncBus(ipc=False) as bus:
        url = (await bus.listen(LOOPBACK)).url
        port = int(url.rpartition(":")[2])
        many = [
            (await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(INCOMING_OF_ADDRESS_MAX + 2)
        ]
        await until(lambda: of(bus, "quota"))
        row = of(bus, "quota")[0]
        assert few(row, "quota", "listener", "link") == ("incoming", url, None)
        assert row["address"].startswith("tcp://127.0.0.1:")
        for writer in many:
            writer.close()


@pytest.mark.jumps(needed=True)
async def test_what_a_policy_denies_is_told() -> None:
    async with buses(2) as (here, there):
        here.serve("lab/door", lambda request: "open")
        await until(lambda: sees(there, "lab/door"))
        here.node.guard = Guard(lambda *about: about[2] != codes.MAY_CALL, lambda link, which: -1)
        with pytest.raises(busway.Undeliverable):
            await there.request("lab/door")
        (row,) = of(here, "denial")
        assert few(row, "action", "name", "peer_label") == ("call", "lab/door", "b")
        assert row["peer"].replace("-", "") == there.id.hex()


@pytest.mark.jumps(needed=True)
async def test_who_leaves_behind_its_message_is_named() -> None:
    policy = {"rule": [{"who": "*", "call": "**"}]}
    async with AsyncBus(ipc=False, policy=policy) as here:
        here.register("lab/door")
        async with AsyncBus(ipc=False, leaf=True, label="visitor") as there:
            await join(there, here)
            await there.send("lab/door", "open")
        await until(lambda: of(here, "denial"))
        (row,) = of(here, "denial")
        assert few(row, "action", "peer_label") == ("send", "visitor")


@pytest.mark.jumps(needed=True)
async def test_a_node_without_a_label_has_none_of_another() -> None:
    """What is not known is left out."""
    policy = {"rule": [{"who": "*", "serve": ["lab/*"]}]}
    async with (
        AsyncBus(ipc=False, policy=policy) as here,
        AsyncBus(ipc=False, label="router", transit=True) as router,
        AsyncBus(ipc=False, label="") as there,
    ):
        await join(there, router)
        await join(router, here)
        there.register("plant/log")
        await until(lambda: of(here, "denial"))
        (row,) = of(here, "denial")
        assert few(row, "peer", "peer_label") == (str(UUID(bytes=there.id)), None)
        assert "peer_label" not in row


@pytest.mark.jumps(needed=True)
async def test_what_may_not_be_announced_is_told_once() -> None:
    policy = {"rule": [{"who": "*", "serve": ["lab/*"], "see": ["**"]}]}
    async with AsyncBus(ipc=False, policy=policy) as here, AsyncBus(ipc=False, label="there") as there:
        await join(there, here)
        for name in ("lab/log", "plant/log", "plant/valve"):
            there.register(name)
        await until(lambda: sees(here, "lab/log"))
        await asyncio.sleep(1)
        names = ("action", "name", "peer_label")
        assert [few(row, *names) for row in of(here, "denial")] == [
            ("serve", "plant/log", "there"),
            ("serve", "plant/valve", "there"),
        ]


@pytest.mark.jumps(needed=True)
async def test_what_a_policy_bounds_is_told() -> None:
    policy = {"rule": [{"who": "*", "quota": {"messages": 10}}]}
    async with AsyncBus(ipc=False, policy=policy) as here, AsyncBus(ipc=False, label="loud") as loud:
        receiver = here.register("lab/log", realm="userspace")
        await join(here, loud)
        for _ in range(40):
            await loud.send("lab/log", b"x")
        for _ in range(40):
            await receiver.receive(60)
        (row,) = of(here, "quota")
        assert few(row, "quota", "peer_label", "realm") == ("messages", "loud", "userspace")
    policy = {"rule": [{"who": "*", "quota": {"handlers": 1, "entries": 2}}]}
    async with AsyncBus(ipc=False, policy=policy) as here, AsyncBus(ipc=False, label="loud") as loud:

        async def work(request: busway.Request) -> str:
            await asyncio.sleep(1)
            return "done"

        here.serve("lab/work", work)
        await join(here, loud)
        asked = [loud.request("lab/work") for _ in range(3)]
        assert await asyncio.gather(*asked) == ["done"] * 3  # those over the quota waited
        for number in range(4):
            loud.register(f"lab/{number}")
        await until(lambda: len(of(here, "quota")) > 1)
        assert [row["quota"] for row in of(here, "quota")] == ["handlers", "entries"]
    policy = {"rule": [{"who": "*", "quota": {"links": 1}}]}
    async with (
        AsyncBus(ipc=False, policy=policy) as here,
        AsyncBus(ipc=False) as first,
        AsyncBus(ipc=False) as second,
    ):
        url = (await here.listen(LOOPBACK)).url
        await first.connect(url)
        with pytest.raises(busway.LinkRefused):
            await second.connect(url)
        (row,) = of(here, "quota")
        assert few(row, "quota", "listener") == ("links", url)
        assert "listener" not in of(first, "join")[0]


# Who pays --------------------


@pytest.mark.jumps(needed=True)
async def test_who_uses_no_audit_logs_and_publishes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with buses(2) as (here, there):
        assert lines(caplog) == []
        assert here.node.report(0)["published"] == there.node.report(0)["published"] == []
        assert "audit" not in here.node.report(0)


@pytest.mark.jumps(needed=True)
async def test_programs_of_the_user_follow_it_and_others_do_not() -> None:
    async with buses(2) as (here, watcher):
        far = AsyncBus(ipc=False, label="far")
        async with far:
            await join(far, here, "localnet")
            near = watcher.subscribe(AUDIT_NAME, realm="userspace")
            stranger = far.subscribe(AUDIT_NAME)
            await until(lambda: len(here.node.directory.holders(endpoint_id(AUDIT_NAME))) == 2)
            async with AsyncBus(ipc=False, label="guest") as guest:
                await join(guest, here, "localnet")
            message: Message[Any] = await near.receive(60)
            record = message.payload
            assert (record["what"], record["fields"]["peer_label"]) == ("join", "guest")
            assert message.source == here.id
            assert (await near.receive(60)).payload["what"] == "leave"
            await asyncio.sleep(5)
            assert not stranger._core.queue
            await near.close()
            await until(lambda: len(here.node.directory.holders(endpoint_id(AUDIT_NAME))) == 1)
            sent = here.node.report(0)["published"]
            async with AsyncBus(ipc=False, label="guest") as guest:
                await join(guest, here, "localnet")
            assert here.node.report(0)["published"] == sent  # far alone would not get it


@pytest.mark.jumps(needed=True)
async def test_no_policy_hides_it_from_programs_of_the_user() -> None:
    closed = {"default": "closed"}
    async with AsyncBus(ipc=False, policy=closed) as here, AsyncBus(ipc=False, policy=closed) as watcher:
        receiver = watcher.subscribe(AUDIT_NAME, realm="userspace")
        await join(watcher, here)
        await until(lambda: sees(here, AUDIT_NAME))
        async with AsyncBus(ipc=False, label="guest") as guest:
            await join(guest, here)
        told: Message[Any] = await receiver.receive(60)
        assert (told.payload["what"], told.payload["fields"]["peer_label"]) == ("join", "guest")


# Floods and forgery --------------------


def flood(bus: AsyncBus, count: int, addresses: int) -> None:
    """Strangers who are refused for nothing but coming."""
    for number in range(count):
        address = f"tcp://192.0.{number % addresses >> 8}.{number % addresses & 255}:1"
        host_of(bus).trail.refused("tcp://here:1", address, NASTY)


@pytest.mark.jumps(needed=True)
async def test_a_flood_is_told_in_few_lines_and_hides_nothing_else(log: pytest.LogCaptureFixture) -> None:
    async with buses(1) as (here,):
        flood(here, 10_000, 4096)
        assert len(lines(log)) == STRANGERS[0]
        async with AsyncBus(ipc=False, label="guest") as guest:  # of another kind, and of this user
            await join(guest, here)
            assert sum("peer_label=guest" in each for each in lines(log)) == 1
        host_of(here).trail.exceeded("routes", "tcp://192.0.0.1:1")
        assert lines(log)[-1].startswith("quota quota=routes ")
        flood(here, 10_000, 4096)
        assert len(trail(here)) <= KEPT_MAX
        assert {row["what"] for row in trail(here)} == {"refusal", "join", "leave", "quota"}
        before = len(lines(log))
        await asyncio.sleep(LEFT_OUT_S + 1)
        (told,) = [each for each in lines(log)[before:] if "left_out" in each]
        assert "refusal error=OPENING whose=strangers left_out=19950 " in told
        await asyncio.sleep(2 * LEFT_OUT_S)
        assert len(lines(log)) == before + 1  # nothing more to tell
        flood(here, 10_000, 4096)
    assert any("left_out=99" in each for each in lines(log)[before + 1 :])  # at the end at once


@pytest.mark.jumps(needed=True)
async def test_who_comes_through_a_bridge_hides_nothing_of_this_user() -> None:
    policy = {"rule": [{"who": "*", "serve": ["lab/*"], "see": ["**"]}]}
    async with (
        AsyncBus(ipc=False, policy=policy) as here,
        AsyncBus(ipc=False, transit=True) as bridge,
        AsyncBus(ipc=False, label="far") as far,
        AsyncBus(ipc=False, label="near") as near,
    ):
        await join(bridge, here)
        await join(far, bridge, "localnet")
        for number in range(100):
            far.register(f"plant/{number}")
        await until(lambda: here.node.counters["entries_denied"] == 100)
        assert len(of(here, "denial")) <= STRANGERS[0] // 5
        await join(near, here)
        for number in range(30):
            near.register(f"plant/near {number}")
        await until(lambda: here.node.counters["entries_denied"] == 130)
        assert sum(row["peer_label"] == "near" for row in of(here, "denial")) == 30


@pytest.mark.jumps(needed=True)
async def test_what_is_kept_has_of_each_sort_some() -> None:
    """Of errors that strangers are refused with, too: the first token that was tried is not lost."""
    async with buses(1) as (here,):
        trail_of = host_of(here).trail
        trail_of._note("refusal", "TOKEN", {"error": "TOKEN"}, address="tcp://192.0.2.1:1")
        for _ in range(3):
            flood(here, 1000, 1000)
            trail_of._note("refusal", "LOST", {"error": "LOST"}, address="tcp://192.0.2.1:1")
            await asyncio.sleep(3600)
        assert len(trail(here)) == KEPT_MAX
        assert [row["error"] for row in of(here, "refusal")].count("TOKEN") == 1
        assert [row["error"] for row in of(here, "refusal")].count("LOST") == 3


@pytest.mark.jumps(needed=True)
async def test_floods_of_all_sorts_fill_no_disk(log: pytest.LogCaptureFixture) -> None:
    """Strangers from everywhere do all that they can be refused for, all the time: the bytes of a day."""
    async with buses(1) as (here,):
        trail_of, text, before = host_of(here).trail, "x" * 200, 0
        errors = [*codes.LINK_ERROR_NAMES.values(), "OTHER", "OPENING"]
        for minute in range(120):
            if minute == 60:
                before = len(lines(log))
            for error in errors:
                for number in range(2):
                    address = f"tcp://192.0.{minute & 255}.{number}:54321"
                    trail_of._note("refusal", error, {"error": error, "text": text}, address=address)
            await asyncio.sleep(60)
        hour = lines(log)[before:]
    assert len(hour) <= len(errors) * (60 + 6)
    assert sum(len(each) + 1 for each in hour) * 24 < 20_000_000  # docs/howto/audit.md


def test_one_who_floods_leaves_room_for_others() -> None:
    sampler = FairSampler(50, 6000)
    assert sum(sampler.take("flood", 0) for _ in range(1000)) == 10
    assert sampler.take("other", 0)
    assert sum(sampler.take(f"source {number}", 0) for number in range(1000)) == 39
    assert len(sampler._each) == SOURCES_MAX
    assert not sampler.take("new", 5999)
    assert sampler.take("new", 6000)
    assert not sampler.take("new", 6000)
    assert sum(sampler.take("", 3_600_000) for _ in range(1000)) == 50  # all alike


@pytest.mark.jumps(needed=True)
async def test_whatever_others_say_stays_in_one_short_line(log: pytest.LogCaptureFixture) -> None:
    label = 'x" what=join\nroot'
    async with buses(1) as (here,):
        async with AsyncBus(ipc=False, label=label) as guest:
            await join(guest, here)
            guest.node.connections[0].fail(99, NASTY, host_of(guest).now_ms())
            await until(lambda: of(here, "leave"))
        host_of(here).trail.refused("tcp://here:1", "tcp://192.0.2.1:1", "\x1b" * 100_000)
        assert all(len(str(value)) <= TEXT_MAX for row in trail(here) for value in row.values())
    assert len(lines(log)) >= 4
    for each in lines(log):
        assert each.isprintable()
        assert len(each) < 4096
        assert "\nroot" not in each
    for record in log.records:
        fields: Row = getattr(record, "busway", {})  # safe wherever they are put
        assert all(str(value).isprintable() for value in fields.values()), fields
    mine = next(each for each in lines(log) if each.startswith("leave ") and " by=peer " in each)
    assert " error=OTHER " in mine
    assert f"text={json.dumps(SHOWN, ensure_ascii=False)}" in mine
    assert ' peer_label="x\\" what=join\\\\nroot" ' in mine


def test_a_line_can_be_taken_apart() -> None:
    fields: dict[str, Value] = {"a": "b c", "d": True, "e": 3, "f": "", "g": "tcp://[::1]:5", "h": 'q"=\\'}
    assert line("join", fields) == ('join a="b c" d=yes e=3 f="" g=tcp://[::1]:5 h="q\\"=\\\\"')


@pytest.mark.jumps(needed=True)
async def test_who_asks_gets_what_is_kept() -> None:
    async with buses(2) as (here, there):
        await asyncio.sleep(1)
        answer: Any = await there.request(codes.INTROSPECTION, b"audit", node=here.id)
        assert [row["what"] for row in answer["audit"]] == ["join"]
        assert answer["audit"] == host_of(here).trail.rows()
        assert "audit" not in await there.request(codes.INTROSPECTION, None, node=here.id)
        flood(here, 10_000, 4096)
        assert len(cbor2.dumps(host_of(here).trail.rows())) < 65536
