"""The JavaScript client under node against a real bus, over ws://."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import busway
from busway.adapters.typed import Priority
from busway.drivers import unix
from busway.protocol import Guard, codes
from tests.adapters.tools import until
from tests.rigs import aio, browser
from tests.services.pumps import AsyncPump

LIVE = Path(__file__).parent / "live.mjs"
BOUND_S = 60.0
PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high", "urgent")
TOKEN = "8c1f0e5bd2a94763b0d5e7f1a2c34698"


class Site:
    """A bus that listens, with endpoints for the scenarios of live.mjs."""

    def __init__(self, bus: busway.AsyncBus) -> None:
        self.bus = bus
        self.cancelled = 0
        self.inside = ""  # where more programs may come to the node in between
        self.slow_asked = asyncio.Event()  # a request came to "t/slow"
        self.finish = asyncio.Event()  # what "t/wait" waits for
        bus.serve("t/echo", lambda request: request.payload, realm="global")
        bus.serve("t/near", lambda request: request.payload)
        bus.serve("t/cancelled", lambda request: self.cancelled, realm="global")
        for handler in (self.refuses, self.breaks, self.slow, self.wait):
            bus.serve(f"t/{handler.__name__}", handler, realm="global")
        for stream in (self.count, self.three, self.slowly):
            bus.serve(f"t/{stream.__name__}", stream, realm="global")

    async def refuses(self, request: busway.Request) -> None:
        raise busway.RemoteError(300, "not for you")

    async def breaks(self, request: busway.Request) -> None:
        raise KeyError("x")

    async def slow(self, request: busway.Request) -> None:
        self.slow_asked.set()
        try:
            await asyncio.sleep(BOUND_S)
        finally:
            self.cancelled += 1

    async def count(self, request: busway.Request) -> AsyncIterator[int]:
        assert isinstance(request.payload, int)
        for number in range(request.payload):
            yield number

    async def three(self, request: busway.Request) -> AsyncIterator[int]:
        for number in range(3):
            yield number
        raise busway.RemoteError(301, "that was all")

    async def slowly(self, request: busway.Request) -> AsyncIterator[int]:
        assert isinstance(request.payload, int)
        for number in range(request.payload):
            await asyncio.sleep(1.5)  # all of them take longer than the time of one, by far on a busy machine
            yield number

    async def wait(self, request: busway.Request) -> None:
        await self.finish.wait()

    async def publish(self) -> None:
        number = 0
        while True:
            number += 1
            await self.bus.publish("t/down", {"number": number}, realm="global")
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def site(*, behind: bool = False, ipc: bool = False, **options: Any) -> AsyncIterator[tuple[Site, str]]:
    """A site and its address; `behind`: a node in between has that address, and the site a link to it; `ipc`:
    it is that of its Unix socket.
    """
    async with (
        busway.AsyncBus(ipc=ipc and not behind, label=options.pop("label", "site")) as bus,
        busway.AsyncBus(ipc=ipc and behind, label="door", transit=True) as door,
    ):
        made = Site(bus)
        if ipc:
            (peer,) = unix.peers(bus.node.bus)
            url = f"ipc://{peer.path}"
        else:
            url = options.pop("url", "ws://127.0.0.1:0")
            url = (await (door if behind else bus).listen(url, **options)).url
        if behind:
            made.inside = (await door.listen("tcp://127.0.0.1:0")).url
            await bus.connect(made.inside)
        bus.subscribe("t/down", realm="global")
        publishing = asyncio.create_task(made.publish())
        try:
            yield made, url
        finally:
            publishing.cancel()


class Node:
    """A scenario of live.mjs as it runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def said(self, word: str) -> None:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), BOUND_S)
        assert line.decode().strip() == word, await self.end()

    async def end(self) -> str:
        """Its complaints, once it has ended."""
        assert self.process.stderr is not None
        complaints = await asyncio.wait_for(self.process.stderr.read(), BOUND_S)
        await self.process.wait()
        return complaints.decode()


@contextlib.asynccontextmanager
async def node(scenario: str, url: str) -> AsyncIterator[Node]:
    """Run a scenario; all must have gone well when the block is left."""
    process = await asyncio.create_subprocess_exec(
        browser.node(),
        *(LIVE, scenario, url),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    running = Node(process)
    try:
        yield running
        complaints = await running.end()
        assert process.returncode == 0, complaints
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def alone(scenario: str, **options: Any) -> None:
    """A scenario that needs nothing of the site but that it is there."""
    async with site(**options) as (_, url), node(scenario, url):
        pass


@pytest.mark.parametrize(
    "scenario",
    [
        "asks",
        "numbers that nobody can guess",
        "failures",
        "waits for a session",
        "another bus",
        "another bus's reason",
        "names like patterns",
        "labels and priorities that are none",
        "a token where none is asked for",
    ],
)
def test_alone(scenario: str) -> None:
    aio.run(alone(scenario))


@pytest.mark.parametrize("scenario", ["asks", "failures"])
def test_alone_with_a_site_behind_a_node(scenario: str) -> None:
    aio.run(alone(scenario, behind=True))


async def named() -> None:
    def admit(client: busway.Client) -> bool:
        return client.name != "page-0"

    async with site(max_connections=10, admit=admit) as (made, url):
        names = lambda request: [client.name for client in made.bus.clients()]  # noqa: E731
        made.bus.serve("t/names", names, realm="global")
        async with node("has a name", url) as page:
            await page.said("there")
            assert await made.bus.node("page-1").request("who") == "page-1"


def test_a_page_has_a_name() -> None:
    aio.run(named())


async def calling() -> None:
    async with site() as (made, url):
        made.bus.host(AsyncPump(), realm="global")
        async with node("calls a service", url):
            pass


def test_a_page_calls_a_service() -> None:
    aio.run(calling())


async def denied() -> None:
    """By the policy of the site."""
    async with site() as (made, url):
        may = lambda *asked: asked[2] == codes.MAY_SEE or asked[4] != "t/echo"  # noqa: E731
        made.bus.node.guard = Guard(may, lambda *_: -1)
        async with node("no permission", url):
            pass


def test_what_a_policy_denies_has_its_name() -> None:
    aio.run(denied())


def test_a_publisher_waits_until_there_is_room() -> None:
    aio.run(floods())


async def token() -> None:
    """The right one, a wrong one, another bus's and none; of the others the listener's program is told."""
    async with site(token=TOKEN) as (made, url):
        changes = made.bus.changes()
        async with node("token", url):
            pass
        async for change in changes:
            if change.what == "link-refused":
                assert "token" in change.text
                break


def test_token() -> None:
    aio.run(token())


async def sends(behind: bool, ipc: bool = False) -> None:
    async with site(behind=behind, ipc=ipc) as (made, url):
        log = made.bus.register("t/log", realm="global")
        async with node("sends", url) as running:
            taken = [(await log.receive(BOUND_S)).payload for _ in range(2001)]
            assert taken == [*range(2000), "last"]
            await running.said("waiting")
            late = made.bus.register("t/late", realm="global")
            assert (await late.receive(BOUND_S)).payload == "hello"


async def listens(behind: bool, ipc: bool = False) -> None:
    async with site(behind=behind, ipc=ipc) as (made, url):
        up = made.bus.subscribe("t/up", realm="global")
        async with node("listens", url) as running:
            await running.said("published")
            came = [(await up.receive(BOUND_S)).payload for _ in range(100)]
            assert came == [{"number": number} for number in range(100)]
            made.finish.set()


async def knows(bus: busway.AsyncBus, *names: str) -> None:
    """Returns once the page's endpoints are known there."""
    await until(lambda: {*names} <= {endpoint.name for endpoint in bus.endpoints()})


async def latest() -> None:
    """A callback that is at work keeps nothing waiting but the newest of each origin."""
    async with (
        site(behind=True) as (made, url),
        busway.AsyncBus(ipc=False, label="other") as other,
        node("latest", url) as running,
    ):
        await running.said("listening")
        await knows(made.bus, "t/now")
        await made.bus.publish("t/now", {"from": "site", "number": 0}, wait=True, realm="global")
        await running.said("at work")
        await other.connect(made.inside)
        for origin in (made.bus, other):
            name = origin.label
            await knows(origin, "t/now")
            for number in range(int(name == "site"), 100):
                await origin.publish("t/now", {"from": name, "number": number}, wait=True, realm="global")
        await running.said("drawn")
        await made.bus.publish("t/now", {"from": "site", "number": 100}, realm="global")
        await running.said("again")
        for number in (101, 102):
            await made.bus.publish("t/now", {"from": "site", "number": number}, realm="global")
        made.finish.set()


async def addresses(behind: bool) -> None:
    """Patterns and labels of a page, and priorities both ways."""
    async with site(behind=behind) as (made, url):
        made.bus.serve("t/priority", lambda request: request.priority, realm="global")
        taken = made.bus.register("t/taken", realm="global")
        family = made.bus.subscribe("up/*/x", realm="global")
        async with node("families of names, labels, priorities", url) as running:
            await running.said("listening")
            await knows(made.bus, "t/*/door", "t/1/door", "js/labelled")
            labels = {each.name: set(each.labels) for each in made.bus.endpoints()}
            assert labels["js/labelled"] == {"page", "door"}
            assert labels["t/*/door"] == {"page"}
            await made.bus.publish("t/1/door", "open", realm="global")
            await made.bus.publish("t/1/window", "open", realm="global")
            await made.bus.publish("t/2/door", "shut", realm="global", priority="urgent")
            await made.bus.publish("t/3/door", "shut", realm="global")
            message = await taken.receive(BOUND_S)
            await running.said("asked")
            assert (message.payload, message.priority) == ("now", "urgent")
            ups = [await family.receive(BOUND_S) for _ in range(2)]
            assert [(each.payload, each.name, each.missed) for each in ups] == [
                (1, "up/1/x", 0),
                (2, "up/1/x", 0),
            ]
            for priority in PRIORITIES:
                assert await made.bus.request("js/labelled", 1, priority=priority) == priority
            await made.bus.publish("t/4/door", "shut", realm="global")


@pytest.mark.parametrize("behind", [False, True])
def test_families_of_names_labels_and_priorities(behind: bool) -> None:
    aio.run(addresses(behind))


async def retains(behind: bool) -> None:
    async with site(behind=behind) as (made, url):
        await made.bus.publish("mode/1", "idle", retain=True, realm="global")
        await made.bus.publish("mode/1", "heating", retain=True, realm="global")
        await made.bus.publish("mode/2", "idle", retain=True, realm="global")
        await made.bus.publish("mode/near", "idle", retain=True)
        async with node("last values", url) as running:
            await running.said("subscribed")
            await made.bus.publish("mode/1", "off", retain=True, realm="global")
            await running.said("newer")
            await made.bus.publish("mode/1", retain=None, realm="global")


@pytest.mark.parametrize("behind", [False, True])
def test_last_values(behind: bool) -> None:
    aio.run(retains(behind))


async def is_there() -> None:
    async with site(behind=True) as (made, url):
        first = made.bus.register("hall/1", realm="global")
        made.bus.register("hall/near")
        async with node("who is there", url) as running:
            await running.said("looking")
            second = made.bus.register("hall/2", realm="global")
            await running.said("arrived")
            second.close()
            made.bus.register("hall/2", realm="global", labels={"wet"})
            await running.said("changed")
            first.close()
            await running.said("withdrawn")
            async with busway.AsyncBus(ipc=False) as other:
                other.register("hall/3", "anycast", realm="global")
                await other.connect(made.inside)
                await running.said("another")
            await running.said("closed")


def test_who_is_there() -> None:
    aio.run(is_there())


async def selects() -> None:
    async with site(behind=True) as (made, url):
        labels = {"renderer"}

        made.bus.serve("render/1", lambda request: request.payload * 2, realm="global", labels=labels)
        made.bus.serve(
            "render/2", lambda request: request.payload * 3, realm="global", labels={*labels, "codec"}
        )
        twins = [made.bus.serve(name, _its(name), realm="global") for name in ("twin/1", "twin/2")]
        made.bus.serve("t/close", lambda request: twins[0].close(), realm="global")
        made.bus.serve("render/near", lambda request: 0, labels=labels)  # not for pages
        boxes = [made.bus.register(f"box/{number}", realm="global", labels={"box"}) for number in (1, 2)]
        async with node("selects by labels", url) as running:
            taken = [asyncio.create_task(_all_of(box)) for box in boxes]
            await running.said("waiting")
            made.bus.serve("late", lambda request: request.payload * 2, realm="global", labels={"late"})
        for box in boxes:
            box.close()
        came = [await each for each in taken]
        assert sorted(len(each) for each in came) == [1, 2]
        assert all(each[-1] == "each" for each in came)


def _its(name: str) -> Callable[[busway.Request[Any]], str]:
    return lambda request: name


async def _all_of(box: busway.Receiver[Any]) -> list[Any]:
    return [message.payload async for message in box]


def test_selectors() -> None:
    aio.run(selects())


async def asks_for_last() -> None:
    async with site(behind=True) as (made, url):
        await made.bus.publish("mode/1", "idle", retain=True, realm="global")
        async with node("asks for a last value", url):
            pass


def test_a_last_value_is_asked_for() -> None:
    aio.run(asks_for_last())


async def closes_in_the_midst() -> None:
    async with site() as (made, url), node("closes in the midst", url) as running:
        await running.said("listening")
        await knows(made.bus, "t/burst", "js/once")
        for number in range(100):
            await made.bus.publish("t/burst", number, realm="global")
        asked = (made.bus.request("js/once", number) for number in range(3))
        first, *others = await asyncio.gather(*asked, return_exceptions=True)
        assert first is None
        for error in others:
            assert isinstance(error, busway.Undeliverable)
            assert error.reason == 1, "NO_ENDPOINT"
        made.finish.set()


def test_closing_in_the_midst_of_a_burst() -> None:
    aio.run(closes_in_the_midst())


def test_policy_latest() -> None:
    aio.run(latest())


async def floods() -> None:
    async with site() as (made, url):
        # A queue for all: what is held here is the page's own link, not how fast this program reads.
        flood = made.bus.subscribe("t/flood", realm="global", queue=8000)
        async with node("floods", url):
            for number in range(8000):
                message = await flood.receive(BOUND_S)
                assert (message.payload["number"], message.missed) == (number, 0)
            made.finish.set()


async def shares_jobs() -> None:
    """Of three workers of equal cost, one job at a time each, the slow one gets one job, not a third of them:
    it is not done with it before the others have done the rest.
    """
    async with contextlib.AsyncExitStack() as stack:
        names = ("door", "quick", "quicker", "slow")
        door, *workers = [
            await stack.enter_async_context(busway.AsyncBus(ipc=False, label=name, transit=name == "door"))
            for name in names
        ]
        url = (await door.listen("ws://127.0.0.1:0")).url
        inside = (await door.listen("tcp://127.0.0.1:0")).url
        rest = asyncio.Event()
        done: list[str] = []

        async def job(request: busway.Request, name: str) -> str:
            if name == "slow":
                await rest.wait()
            done.append(name)
            if len(done) == 59:
                rest.set()
            return name

        for worker, name in zip(workers, names[1:], strict=True):
            worker.serve("t/job", functools.partial(job, name=name), realm="global", limit=1)
            await worker.connect(inside)
        await until(lambda: [endpoint.name for endpoint in door.endpoints()].count("t/job") == 3)
        async with node("jobs", url):
            pass
        assert done.count("quick") > 5 < done.count("quicker"), done


def test_jobs_go_to_who_is_free() -> None:
    aio.run(shares_jobs())


async def streams(behind: bool, ipc: bool = False) -> None:
    async with site(behind=behind, ipc=ipc) as (made, url), node("streams", url) as running:
        await running.said("asked")
        bus = made.bus
        parts = [part async for part in bus.request_stream("js/count", 3000, ttl=BOUND_S)]
        assert parts == list(range(3000))
        async with contextlib.aclosing(bus.request_stream("js/count", 10**9, window=5)) as endless:
            async for part in endless:
                if part == 100:
                    break
        assert [part async for part in bus.request_stream("js/plainly", 200)] == list(range(200))
        assert await bus.request("js/left", None) == 2, "both handlers have ended, one at our wish"
        with pytest.raises(busway.RemoteError, match="no more today") as refused:
            assert [part async for part in bus.request_stream("js/breaks", None)] == [1]
        assert refused.value.code == 778
        with pytest.raises(busway.Undeliverable, match="requestStream"):
            await bus.request("js/count", 3)
        made.finish.set()


async def serves(behind: bool, ipc: bool = False) -> None:
    async with site(behind=behind, ipc=ipc) as (made, url), node("serves", url):
        bus = made.bus
        assert await bus.request("js/upper", "hello", ttl=BOUND_S) == "HELLO"
        answers = await asyncio.gather(*(bus.request("js/upper", f"n{number}") for number in range(1000)))
        assert answers == [f"N{number}" for number in range(1000)]
        for number in range(999):
            await bus.send("js/log", number)
        await bus.send("js/log", 999, confirm=True)
        with pytest.raises(busway.RemoteError, match="not today") as refused:
            await bus.request("js/refuses", None)
        assert refused.value.code == 777
        with pytest.raises(busway.RemoteError, match="TypeError"):
            await bus.request("js/breaks", None)
        with pytest.raises(busway.RequestTimeout):
            await bus.request("js/slow", None, timeout=2)
        made.finish.set()


async def comes_back() -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(contextlib.AsyncExitStack())
        made, url = await first.enter_async_context(site())
        running = await stack.enter_async_context(node("comes back", url))
        await running.said("listening")
        await asyncio.wait_for(made.slow_asked.wait(), BOUND_S)
        await first.aclose()
        await running.said("lost")
        again, _ = await stack.enter_async_context(site(url=url, label="site again"))
        assert await again.bus.request("js/upper", "hello", ttl=BOUND_S) == "HELLO"
        again.finish.set()
        assert await running.end() == ""


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("story", [sends, listens, serves, streams])
def test_together(story: Callable[[bool], Coroutine[Any, Any, None]], behind: bool) -> None:
    aio.run(story(behind))


def test_comes_back() -> None:
    aio.run(comes_back())
