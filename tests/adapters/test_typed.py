"""Types that users see: replies of a wanted type, what objects say of themselves, and what type checkers
know.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, Union, assert_type

import cbor2
import pytest

import busway
from busway.protocol import codes
from tests.adapters import threads_tools
from tests.adapters.tools import buses, sees, until

pytestmark = pytest.mark.jumps


@busway.message(str(uuid.uuid4()), name="lab/question")
@dataclass
class Question:
    rpm: int


@busway.message(name="lab/typed/answer")
@dataclass
class Answer:
    rpm: int
    ok: bool = True


@busway.message(name="lab/typed/odd")
@dataclass
class Odd:
    text: str


@dataclass
class Plain:
    rpm: int


def answers(request: busway.Request) -> Any:
    """The classes that the payload names."""
    return {
        "answer": Answer(7),
        "question": Question(7),
        "map": {"rpm": 7},
        "numbers": [1, 2, 3],
        "int": 7,
        "bytes": b"raw",
        "none": None,
        "wrong": {"rpm": "fast"},
    }[request.payload]


def parts(request: busway.Request) -> Iterator[Any]:
    yield {"rpm": 1}
    yield {"rpm": "fast"}


async def parts_async(request: busway.Request) -> AsyncIterator[Any]:
    yield {"rpm": 1}
    yield {"rpm": "fast"}


GOOD: list[tuple[str, Any, Any]] = [
    ("answer", Answer, Answer(7)),
    ("map", Answer, Answer(7)),
    ("map", Plain, Plain(7)),
    ("map", dict[str, int], {"rpm": 7}),
    ("numbers", list[int], [1, 2, 3]),
    ("numbers", tuple[int, ...], (1, 2, 3)),
    ("int", float, 7.0),
    ("int", int | None, 7),
    ("none", int | None, None),
    ("bytes", bytes, b"raw"),
    ("answer", Answer | Question, Answer(7)),
    ("question", Answer | Question, Question(7)),
    ("question", Union[Answer, Question], Question(7)),  # noqa: UP007 - as people write it
    ("question", Annotated[Answer | Question, ["not hashable"]], Question(7)),
    ("map", Answer | Question | dict[str, int], {"rpm": 7}),
    ("answer", Answer | None, Answer(7)),
    ("map", Answer | None, Answer(7)),
    ("none", Answer | Question | None, None),
    ("answer", None, Answer(7)),
    ("answer", dict, {"rpm": 7, "ok": True}),
]
BAD: list[tuple[str, Any, str]] = [
    ("wrong", Answer, "Answer.rpm: expected int, got str"),
    ("wrong", Plain, "Plain.rpm: expected int, got str"),
    ("numbers", Answer, "Answer: expected a map of fields, got list"),
    ("question", Answer, "expected Answer, got Question"),
    ("bytes", Answer, "Answer: expected a map of fields, got bytes"),
    ("int", str, "str: expected str, got int"),
    ("none", Answer, "Answer: expected a map of fields, got None"),
    ("question", Answer | None, "expected Answer | None, got Question"),
    ("map", Answer | Question, "expected Answer | Question, got a value without a type"),
    ("int", Answer | Question | None, "Answer | Question | None: expected None, got int"),
]


@pytest.mark.parametrize(("asked", "reply", "value"), GOOD[:-1])
async def test_a_reply_is_converted_to_what_is_wanted(asked: str, reply: Any, value: Any) -> None:
    async with buses(1) as (bus,):
        bus.serve("it", answers)
        assert await bus.request("it", asked, reply=reply) == value


@pytest.mark.parametrize(("asked", "reply", "why"), BAD)
async def test_a_reply_that_does_not_fit_says_where(asked: str, reply: Any, why: str) -> None:
    async with buses(1) as (bus,):
        bus.serve("it", answers)
        with pytest.raises(busway.PayloadError) as caught:
            await bus.request("it", asked, reply=reply)
        assert str(caught.value) == f"the reply of it: {why}"


async def test_a_reply_type_that_nothing_can_be_is_refused_before_anything_is_sent() -> None:
    async with buses(1) as (bus,):
        asked: list[object] = []
        bus.serve("it", asked.append)
        with pytest.raises(TypeError, match=r"reply: .* cannot be checked on arrival"):
            await bus.request("it", reply="Answer")
        with pytest.raises(TypeError, match=r"reply: .* cannot be checked on arrival"):
            await anext(bus.request_stream("it", reply=uuid))
        assert asked == []


async def test_parts_are_converted_one_by_one() -> None:
    async with buses() as (a, b):
        b.serve("it", parts_async)
        await until(lambda: sees(a, "it"))
        stream = a.request_stream("it", reply=Plain)
        assert await anext(stream) == Plain(1)
        with pytest.raises(busway.PayloadError, match=r"Plain\.rpm"):
            await anext(stream)


async def test_an_object_of_this_process_is_compared_and_not_converted() -> None:
    async with buses(1) as (bus,):
        bus.serve("it", lambda request: Plain(request.payload), realm="process")
        assert await bus.request("it", 3, reply=Plain) == Plain(3)
        with pytest.raises(busway.PayloadError, match="expected Answer, got Plain"):
            await bus.request("it", 3, reply=Answer)
        assert await bus.request("it", 3, reply=Plain | int) == Plain(3)
        assert await bus.request("it", 3, reply=Any) == Plain(3)
        with pytest.raises(busway.PayloadError, match=r"expected Answer \| Question, got Plain"):
            await bus.request("it", 3, reply=Answer | Question)


def test_threads_convert_replies_as_well() -> None:
    with threads_tools.buses() as (a, b):
        b.serve("it", answers)
        b.serve("parts", parts)
        for asked, reply, value in GOOD[:-1]:
            assert a.request("it", asked, ttl=30, reply=reply) == value
        for asked, reply, why in BAD:
            with pytest.raises(busway.PayloadError) as caught:
                a.request("it", asked, reply=reply)
            assert str(caught.value) == f"the reply of it: {why}"
        with pytest.raises(TypeError, match="cannot be checked on arrival"):
            a.request("it", "int", reply="int")
        stream = a.request_stream("parts", ttl=30, reply=Plain)
        assert next(stream) == Plain(1)
        with pytest.raises(busway.PayloadError, match=r"Plain\.rpm"):
            next(stream)


# A name instead of a UUID


async def test_a_class_declared_by_name_is_the_endpoint_of_that_name() -> None:
    async with buses() as (a, b):
        received = b.register(Answer)
        await until(lambda: sees(a, "lab/typed/answer"))
        await a.send("lab/typed/answer", Answer(3))
        await a.send(Answer, Answer(4))
        assert [(await received.receive(60)).payload for _ in range(2)] == [Answer(3), Answer(4)]


# What goes in


@busway.message(name="lab/typed/special")
@dataclass
class Special(Question):
    """A message type of its own, which nobody who takes questions declared."""


@dataclass
class Undeclared(Question):
    """No message type."""


WRONG: list[Any] = [{"rpm": 1}, 5, None, b"raw", Answer(1), Special(1)]


@pytest.mark.parametrize("value", WRONG, ids=repr)
async def test_an_endpoint_that_a_class_stands_for_takes_its_instances_only(value: Any) -> None:
    got = "None" if value is None else type(value).__name__
    says = rf"^endpoint Question takes Question, not {got}: write Question\(\.\.\.\), or give the endpoint's"
    asyncio_bus: Any
    async with buses(1) as (asyncio_bus,):
        for call in (asyncio_bus.send, asyncio_bus.publish, asyncio_bus.request):
            with pytest.raises(TypeError, match=says):
                await call(Question, value)
        with pytest.raises(TypeError, match=says):
            await anext(asyncio_bus.request_stream(Question, value))
    bus: Any
    with busway.Bus(ipc=False) as bus:
        for call in (bus.send, bus.publish, bus.request, bus.request_future):
            with pytest.raises(TypeError, match=says):
                call(Question, value)
        with pytest.raises(TypeError, match=says):
            next(bus.request_stream(Question, value))


async def test_its_instances_are_taken_and_by_name_all_are() -> None:
    async with buses(1) as (bus,):
        questions = bus.register(Answer, types=(Answer, Special, bytes))
        await bus.send(Answer, Answer(1))
        await bus.send("lab/typed/answer", Special(2))
        await bus.send(busway.endpoint_id(Answer), b"raw")
        assert [(await questions.receive(60)).payload for _ in range(3)] == [Answer(1), Special(2), b"raw"]
        inside = bus.register(Question, realm="process")
        await bus.send(Question, Undeclared(3))  # an object, which stays what it is
        assert (await inside.receive(60)).payload == Undeclared(3)


async def test_what_was_declared_again_is_still_the_same_type() -> None:
    def declare() -> type[Any]:
        @busway.message(name="lab/typed/again")
        @dataclass
        class Again:
            rpm: int

        return Again

    earlier, later = declare(), declare()
    async with buses(1) as (bus,):
        received = bus.register("lab/typed/again")
        await bus.send(earlier, later(1))
        assert (await received.receive(60)).payload == later(1)


async def test_what_a_handler_cannot_read_is_logged_with_its_endpoint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with buses(1) as (bus,):
        bus.serve(Question, answers)
        with pytest.raises(busway.Undeliverable, match="expected Question, got a value without a type"):
            await bus.request(busway.endpoint_id(Question), {"rpm": "fast"})
    assert "reading a message for lab/question failed" in caplog.text
    assert "PayloadError: expected Question, got a value without a type" in caplog.text


def test_what_a_handler_of_a_thread_cannot_read_is_logged_with_its_endpoint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with busway.Bus(ipc=False) as bus:
        bus.serve(Question, answers)
        with pytest.raises(busway.Undeliverable, match="expected Question, got a value without a type"):
            bus.request(busway.endpoint_id(Question), {"rpm": "fast"})
    assert "reading a message for lab/question failed" in caplog.text
    assert "PayloadError: expected Question, got a value without a type" in caplog.text


# What a message tells


@pytest.mark.jumps(False)  # its time is that of time.monotonic()
async def test_a_message_tells_its_endpoint_its_source_and_its_time() -> None:
    async with buses() as (a, b):
        readings = b.subscribe("lab/temperature")
        await until(lambda: sees(a, "lab/temperature"))
        before = time.monotonic()
        await a.publish("lab/temperature", 21.5)
        message = await readings.receive(60)
        assert (message.endpoint_name, message.source_label) == ("lab/temperature", "a")
        assert before - 0.002 < message.received_at <= time.monotonic()
        assert repr(message) == "<message 1 to 'lab/temperature' from 'a': 21.5>"
        assert repr(readings).startswith("<Receiver of 'lab/temperature' ")


async def test_what_is_on_the_bus_tells_what_it_is() -> None:
    async with buses() as (a, b):
        service = b.serve("lab/pump", answers)
        await until(lambda: sees(a, "lab/pump"))
        own, other = a.nodes()
        assert repr(own) == "<node 'a' 61616161, this one>"
        assert repr(other) == "<node 'b' 62626262>"
        (endpoint,) = (found for found in a.endpoints() if found.name == "lab/pump")
        assert (
            repr(endpoint) == f"<endpoint 'lab/pump' {endpoint.id.hex()[:8]}, anycast, localnet, at 62626262>"
        )
        assert repr(a.links()[0]).startswith("<link to 'b' 62626262 over memory://pair, connected, userspace")
        assert repr(a.routes()[0]).startswith("<route to 'b' 62626262 via 62626262, cost ")
        assert repr((await a.trace("lab/pump"))[0]).startswith("<hop 'b' 62626262 over ")
        assert repr(a) == "<AsyncBus 'default' as 'a' 61616161, open, 1 other node>"
        assert repr(service).startswith("<Service of 'lab/pump' ")
        assert repr(a.node) == f"<node 'a' {a.id.hex()} on bus 'default', links: 1>"
        assert repr(busway.Change("node-up", other)) == "<node-up <node 'b' 62626262>>"
    assert repr(a).endswith(", closed, 0 other nodes>")
    assert ", not open yet, " in repr(busway.Bus(label="x"))


def test_what_a_threads_bus_gave_tells_what_it_is() -> None:
    with busway.Bus(label="t", ipc=False) as bus:
        readings = bus.subscribe("lab/reading", queue=9)
        service = bus.serve("lab/pump", answers)
        bus.publish("lab/reading", 1)
        assert repr(readings).startswith("<Receiver of 'lab/reading' ")
        assert repr(readings).endswith(", broadcast, localnet, 1 queued>")
        assert repr(service).startswith("<Service of 'lab/pump' ")
        assert repr(readings.receive(60)) == "<message 1 to 'lab/reading' from 't': 1>"
        readings.close()
        assert repr(readings).endswith(", closed>")
        assert repr(bus).startswith("<Bus 'default' as 't' ")


async def test_what_others_connect_at_tells_where_that_is() -> None:
    async with busway.AsyncBus(ipc=False) as a, busway.AsyncBus(ipc=False) as b:
        listener = await a.listen("tcp://127.0.0.1:0")
        assert repr(listener) == f"<listener at {listener.url}>"
        link = await b.connect(listener.url)
        assert repr(link) == f"<link to {listener.url}: connected>"


# A tagged union: each message is of one of the types, which its UUID tells


Either: TypeAlias = Annotated[Question | Answer, "what the lab says"]


@pytest.mark.parametrize("types", [Either, Question | Answer, Union[Question, Answer], (Question, Answer)])  # noqa: UP007
async def test_a_receiver_of_a_union_takes_its_members_and_counts_the_rest(types: Any) -> None:
    async with buses(1) as (bus,):
        inbox = bus.register("it", types=types)
        await bus.send("it", Question(1))
        await bus.send("it", Odd("a type that it did not declare"))
        await bus.send("it", Answer(2))
        await bus.send("it", {"rpm": 3})
        await bus.send("it", b"raw")
        assert [(await inbox.receive()).payload for _ in range(2)] == [Question(1), Answer(2)]
        assert inbox.unknown == 1
        for came in ("a value", "bytes"):
            wrong = await inbox.receive()
            assert str(wrong.error) == f"expected Question or Answer, got {came} without a type"
        assert inbox.unknown == 1


async def test_a_known_type_with_bad_bytes_is_an_error_that_the_receiver_sees() -> None:
    async with buses(1) as (bus,):
        inbox = bus.subscribe("it", types=Either)
        payload = cbor2.dumps({"rpm": "fast"})
        bus.node.publish(busway.endpoint_id("it"), payload, 0, codes.TYPED, busway.endpoint_id(Answer))
        message = await inbox.receive()
        assert str(message.error) == "Answer.rpm: expected int, got str"
        assert inbox.unknown == 0


async def test_one_class_needs_no_tuple() -> None:
    async with buses(1) as (bus,):
        inbox = bus.register("it", types=Answer)
        await bus.send("it", Answer(2))
        assert (await inbox.receive()).payload == Answer(2)


async def test_a_service_takes_a_union_and_refuses_what_is_none_of_it() -> None:
    async with buses(1) as (bus,):

        @bus.serve("it", types=Either)
        def twice(request: busway.Request[Question | Answer]) -> Question | Answer:
            match request.payload:
                case Question(rpm):
                    return Answer(2 * rpm)
                case Answer(rpm):
                    return Question(2 * rpm)

        assert await bus.request("it", Question(3), reply=Either) == Answer(6)
        assert await bus.request("it", Answer(4), reply=Either) == Question(8)
        for asked in (Odd("?"), {"rpm": 3}):
            with pytest.raises(busway.Undeliverable) as caught:
                await bus.request("it", asked)
            assert caught.value.reason_name == "UNREADABLE"


def test_threads_take_a_union_as_well() -> None:
    with busway.Bus(ipc=False) as bus:
        inbox = bus.register("inbox", types=Either)
        bus.send("inbox", Odd("a type that it did not declare"))
        bus.send("inbox", Answer(2))
        assert inbox.receive(timeout=30).payload == Answer(2)
        assert inbox.unknown == 1
        news = bus.subscribe("news", types=Question | Answer)
        bus.publish("news", Question(1))
        assert news.receive(timeout=30).payload == Question(1)
        bus.serve("it", lambda request: request.payload, types=Either)
        assert bus.request("it", Question(3), reply=Either) == Question(3)
        assert bus.request_future("it", Answer(3), reply=Either).result(30) == Answer(3)


# For type checkers: mypy and basedpyright compare each `assert_type` with what they found out


def questions() -> AsyncGenerator[busway.Request[Question], None]:
    raise NotImplementedError


async def what_type_checkers_know(bus: busway.AsyncBus) -> None:
    assert_type(bus.subscribe(Question), busway.Receiver[Question])
    assert_type(bus.subscribe("a", types=(Question,)), busway.Receiver[Question])
    assert_type(bus.subscribe("a", types=(Question, Answer)), busway.Receiver[Question | Answer])
    three, four = (Question, Answer, Plain), (Question, Answer, Plain, bytes)
    assert_type(bus.subscribe("a", types=three), busway.Receiver[Question | Answer | Plain])
    assert_type(bus.subscribe("a", types=four), busway.Receiver[Question | Answer | Plain | bytes])
    assert_type(bus.register("a", types=three), busway.Receiver[Question | Answer | Plain])
    assert_type(bus.subscribe("a"), busway.Receiver[Any])
    assert_type(bus.register(Question, "anycast", queue=3), busway.Receiver[Question])
    assert_type(bus.register(b"" * 16), busway.Receiver[Any])
    message = await bus.register(Question).receive()
    assert_type(message, busway.Message[Question])
    assert_type(message.payload.rpm, int)
    assert_type(await bus.request("a", Question(3), reply=Answer), Answer)
    assert_type(await bus.request("a", reply=list[int], timeout=3.0), list[int])
    assert_type(await bus.request("a"), Any)
    assert_type(await bus.request("a", reply=int | None), int | None)
    assert_type(await bus.request("a", reply=Either), Question | Answer)
    assert_type(bus.subscribe("a", types=Question | Answer), busway.Receiver[Question | Answer])
    assert_type(bus.register("a", types=Union[Question, Answer]), busway.Receiver[Question | Answer])  # noqa: UP007
    assert_type(bus.register("a", types=Either), busway.Receiver[Question | Answer])
    assert_type(bus.register("a", types=Question), busway.Receiver[Question])
    assert_type(bus.subscribe("a", types=(Question, Answer, Plain, bytes, str)), busway.Receiver[Any])
    assert_type(bus.request_stream("a", reply=Either), AsyncGenerator[Question | Answer, None])
    assert_type(bus.request_stream("a", reply=Answer), AsyncGenerator[Answer, None])
    assert_type(bus.request_stream("a"), AsyncGenerator[Any, None])
    assert_type(bus.serve(Question, lambda request: request.payload.rpm), busway.Service)
    assert_type(await bus.request(Question, Question(3), reply=Answer), Answer)
    assert_type(bus.request_stream(Question, Question(3), reply=Answer), AsyncGenerator[Answer, None])
    await bus.send(Question, Question(3), confirm=True)
    await bus.publish(Question, Question(3), wait=True)

    @bus.serve(Question)
    async def handler(request: busway.Request[Question]) -> int:
        return request.payload.rpm

    same: Callable[[busway.Request[Question]], Coroutine[Any, Any, int]] = handler
    assert_type(await same(await anext(questions())), int)


def what_they_know_of_threads(bus: busway.Bus) -> None:
    assert_type(bus.subscribe(Question).receive(), busway.Message[Question])
    assert_type(next(bus.register("a", types=(Question, Answer))), busway.Message[Question | Answer])
    three, four = (Question, Answer, Plain), (Question, Answer, Plain, bytes)
    assert_type(next(bus.subscribe("a", types=three)).payload, Question | Answer | Plain)
    assert_type(bus.register("a", types=four).receive().payload, Question | Answer | Plain | bytes)
    assert_type(bus.register("a").receive().payload, Any)
    assert_type(bus.register("a", types=Either).receive().payload, Question | Answer)
    assert_type(next(bus.subscribe("a", types=Question | Answer)), busway.Message[Question | Answer])
    assert_type(bus.request("a", reply=Either), Question | Answer)
    assert_type(bus.request_future("a", reply=Either), Future[Question | Answer])
    assert_type(bus.request_stream("a", reply=int | None), Generator[int | None, None, None])
    bus.serve("a", lambda request: request.payload.rpm, types=Either)
    assert_type(bus.request("a", reply=Answer), Answer)
    assert_type(bus.request("a"), Any)
    assert_type(bus.request(Question, Question(3), reply=Answer), Answer)
    assert_type(bus.request_future(Question, Question(3), reply=Answer), Future[Answer])
    bus.send(Question, Question(3), confirm=True)
    bus.publish(Question, Question(3), wait=True)
    assert_type(bus.request_future("a", reply=Answer), Future[Answer])
    assert_type(bus.request_future("a"), Future[Any])
    assert_type(bus.request_stream("a", reply=Answer), Generator[Answer, None, None])

    @bus.serve(Question)
    def handler(request: busway.Request[Question]) -> int:
        return request.payload.rpm

    assert_type(handler, Callable[[busway.Request[Question]], int])
