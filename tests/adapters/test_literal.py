"""Names that look like patterns and are none: a warning at the line that wrote them, in both adapters."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable

import pytest

import busway
from busway.adapters import literal
from busway.adapters.literal import id_of_name, name_of, remark
from tests.adapters.threads_tools import buses as blocking_buses
from tests.adapters.tools import buses

pytestmark = pytest.mark.jumps

ENDINGS = ["#", "+", ">", "+/level"]


def fresh(ending: str) -> str:
    """A name that nothing has been said of."""
    return f"lab/{uuid.uuid4().hex[:8]}/{ending}"


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_name_that_looks_like_a_pattern_warns_where_it_is_written(ending: str) -> None:
    async with buses(1) as (bus,):
        with pytest.warns(busway.LiteralName, match="in a pattern \\* stands for one level") as told:
            receiver = bus.subscribe(name := fresh(ending))
        assert [warning.filename for warning in told] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # once said, it is a name like any other
            await bus.publish(name, 1)
        assert (await receiver.receive(60)).payload == 1


@pytest.mark.parametrize("name", ["lab/c#", "lab/a+b", "lab/temperature", "C++", "a>b", "#1", ""])
def test_ordinary_names_say_nothing(name: str) -> None:
    assert remark(name) == ""
    assert remark(b"#") == ""


def test_so_many_names_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(literal, "_NAMES_MAX", 4)
    monkeypatch.setattr(literal, "_names", {})
    literal.IDS.clear()  # the very one that senders look into
    names = [fresh(str(number)) for number in range(4)]
    ids = {name: id_of_name(name) for name in names}
    assert ids == literal.IDS
    assert [name_of(id) for id in ids.values()] == names
    id_of_name(fresh("one more"))
    assert len(literal.IDS) <= 4
    assert [name_of(ids[name]) for name in names] == ["", *names[1:]]
    assert {name: id_of_name(name) for name in names} == ids
    assert len(literal.IDS) <= 4
    for _ in range(3):  # what senders find at once has its name, too
        id_of_name(fresh("another"))
        assert [name_of(ids[name]) for name in names if name in literal.IDS] == [
            name for name in names if name in literal.IDS
        ]


async def test_every_call_that_takes_a_name_warns() -> None:
    async with buses(1) as (bus,):
        calls: list[Callable[[str], object]] = [
            bus.register,
            bus.subscribe,
            lambda name: bus.serve(name, print),
        ]
        for call in calls:
            with pytest.warns(busway.LiteralName):
                call(fresh("#"))
        with pytest.warns(busway.LiteralName) as told:
            await bus.publish(fresh("#"), b"x")
        assert told[0].filename == __file__
        for asking in (bus.send, bus.request):
            with pytest.warns(busway.LiteralName) as told, pytest.raises(busway.Undeliverable):
                await asking(fresh("#"), b"x")
            assert told[0].filename == __file__
        with pytest.warns(busway.LiteralName) as told, pytest.raises(busway.Undeliverable):
            await bus.trace(fresh("#"), timeout=0.1)
        assert told[0].filename == __file__
        with pytest.warns(busway.LiteralName), pytest.raises(busway.Undeliverable):
            async for _ in bus.request_stream(fresh("#")):
                pass


def test_the_blocking_bus_warns_too() -> None:
    with blocking_buses(1) as (bus,):
        for call in (bus.register, bus.subscribe, bus.publish):
            with pytest.warns(busway.LiteralName) as told:
                call(fresh("+"))
            assert told[0].filename == __file__
        for asking in (bus.send, bus.request, bus.trace):
            with pytest.warns(busway.LiteralName), pytest.raises(busway.Undeliverable):
                asking(fresh("+"))


def test_threads_may_use_more_names_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them forgets the oldest just as another is about to."""

    class Names(dict[bytes, str]):
        def __delitem__(self, key: bytes) -> None:
            super().__delitem__(key)
            super().__delitem__(key)

    monkeypatch.setattr(literal, "_names", Names())
    monkeypatch.setattr(literal, "_NAMES_MAX", 1)
    assert len({literal.id_of_name(fresh("a")) for _ in range(3)}) == 3
