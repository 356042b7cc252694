"""Open files with messages of a Bus: the same promises as of an AsyncBus, with threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import busway
from busway import Bus
from tests.adapters.test_files import opened
from tests.adapters.threads_tools import until
from tests.rigs import held

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(name="pair")
def two_buses() -> Iterator[tuple[Bus, Bus]]:
    """Both see each other over a Unix socket; nothing is open any more once they have left."""
    before = held.count()
    with Bus(label="one") as one, Bus(label="two") as two:
        yield one, two
    until(lambda: held.count() <= before)


def text_of(file: busway.File) -> str:
    with file:
        return os.pread(file.fileno(), 100, 0).decode()


def test_every_call_carries_them(pair: tuple[Bus, Bus]) -> None:
    one, two = pair
    log = two.register("log")
    news = two.subscribe("news")
    until(lambda: any(found.name == "news" for found in one.endpoints()))
    with opened("text") as file:
        one.send("log", 1, files=[file])
        one.send("log", 2, files=[file], ttl=5.0)
        one.publish("news", 3, files=[file])
    for receiver, payload in ((log, 1), (log, 2), (news, 3)):
        message = receiver.receive(timeout=30.0)
        assert message.payload == payload
        assert [text_of(each) for each in message.files] == ["text"]


def test_answers_have_them_too(pair: tuple[Bus, Bus]) -> None:
    one, two = pair

    def upper(request: busway.Request) -> object:
        text = text_of(request.files[0]).upper()
        with opened(text) as made:
            return busway.Attached(text, files=[made])

    def parts(request: busway.Request) -> Iterator[object]:
        for number in range(request.payload):
            with opened(str(number)) as made:
                yield busway.Attached(number, files=[made, made])

    two.serve("upper", upper)
    two.serve("parts", parts)
    with opened("text") as file:
        answer = one.request("upper", files=[file], ttl=30.0, attached=True)
        assert (answer.payload, text_of(answer.files[0])) == ("TEXT", "TEXT")
        assert one.request("upper", files=[file]) == "TEXT"
        future = one.request_future("upper", files=[file], attached=True)
        assert text_of(future.result(30.0).files[0]) == "TEXT"
        assert one.request_future("upper", files=[file]).result(30.0) == "TEXT"
    seen = [
        (part.payload, [text_of(each) for each in part.files])
        for part in one.request_stream("parts", 2, attached=True)
    ]
    assert seen == [(0, ["0", "0"]), (1, ["1", "1"])]
    assert list(one.request_stream("parts", 2)) == [0, 1]


def test_many_threads_at_once_get_their_own(pair: tuple[Bus, Bus]) -> None:
    one, two = pair

    def same(request: busway.Request) -> object:
        with request.files[0] as file:
            return busway.Attached(request.payload, files=[file])

    two.serve("same", same, limit=4)
    wrong: list[object] = []

    def ask(name: str) -> None:
        for number in range(20):
            with opened(f"{name} {number}") as file:
                answer = one.request("same", number, files=[file], ttl=30.0, attached=True)
            text = text_of(answer.files[0])
            if (answer.payload, text) != (number, f"{name} {number}"):
                wrong.append((answer.payload, text))

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_callbacks_have_them(pair: tuple[Bus, Bus]) -> None:
    one, two = pair
    came: list[str] = []
    log = two.register("log")
    log.deliver(lambda message: came.extend(text_of(each) for each in message.files))
    with opened("text") as file:
        one.send("log", files=[file, file], ttl=30.0)
    until(lambda: came == ["text", "text"])


def test_what_cannot_be_sent_is_told_at_once(pair: tuple[Bus, Bus]) -> None:
    one, _ = pair
    before = held.count()
    calls: list[Any] = [one.send, one.publish, one.request, one.request_future]
    for call in calls:
        with pytest.raises(TypeError, match="open file"):
            call("log", files=[None])
    for call in calls[:3]:
        with pytest.raises(ValueError, match="stored"):
            call("log", files=[0], store=True)
        with pytest.raises(ValueError, match="sealed"):
            call("log", files=[0], sealed=True)
    with pytest.raises(ValueError, match="retained"):
        one.publish("log", files=[0], retain=True)
    assert held.count() == before
