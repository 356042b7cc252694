"""Handlers and routes are checked against each other when the application is made."""

from __future__ import annotations

import math
import numbers
import re
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import pytest

import busway
from busway import nano
from busway.nano import graph
from busway.nano.handlers import shape_of
from tests.nano.lab import Adder, Celsius, Count, Counter, Failed, Keeper, Reading, Switched


class Lamp(nano.Handler):
    def handle(self, message: Switched, out: nano.Emit[Failed]) -> None:
        out(Failed("it is broken"))


class Both(nano.Handler):
    def handle(self, message: Switched | Failed) -> None:
        pass


class Several(nano.Handler):
    def handle_switched(self, message: Switched) -> None:
        pass

    def handle_failed(self, message: Failed, out: nano.Emit[Switched | Count]) -> None:
        pass


class Plain:
    """No handler by its class."""

    def handle(self, message: Switched) -> None:
        pass


class Blink(nano.Handler):
    def on_loop(self, out: nano.Emit[Switched]) -> float:
        out(Switched(True))
        return math.inf


class Warmer(Celsius):
    pass


class AnyCelsius(nano.Handler):
    def handle(self, message: Celsius) -> None:
        pass


def made(workers: dict[str, list[object]], *routes: nano.Route, **options: Any) -> nano.App:
    return nano.App(bus=nano.RingBus(4096), workers=workers, routes=routes, **options)


def problems(workers: dict[str, list[object]], *routes: nano.Route, **options: Any) -> tuple[str, ...]:
    with pytest.raises(nano.WiringError) as caught:
        made(workers, *routes, **options)
    assert caught.value.picture.startswith("flowchart LR\n")
    assert str(caught.value).endswith(caught.value.picture)
    return caught.value.problems


def test_handlers_say_by_annotation_what_they_take() -> None:
    assert set(shape_of(Both()).takes) == {Switched, Failed}
    several = shape_of(Several())
    assert set(several.takes) == {Switched, Failed}
    assert several.emits == frozenset({Switched, Count})
    assert shape_of(Lamp()).emits == frozenset({Failed})
    assert shape_of(Plain()).emits == frozenset()


def test_a_route_to_one_that_does_not_take_the_type_is_an_error() -> None:
    (found,) = problems({"a": [Counter(1)], "b": [Lamp()]}, Counter >> Count >> Lamp)
    assert found == "Lamp does not take Count, but Switched"


def test_one_that_nobody_reaches_is_an_error_with_a_picture() -> None:
    with pytest.raises(nano.WiringError) as caught:
        made({"a": [Blink(), Lamp()], "b": [Both()]}, Blink >> Switched >> Both)
    assert caught.value.problems == ("nobody reaches Lamp: no route leads to it",)
    assert caught.value.picture == (
        'flowchart LR\n  subgraph w0["a"]\n    n0["Blink"]\n    n1["Lamp"]\n  end\n'
        '  subgraph w1["b"]\n    n2["Both"]\n  end\n'
        '  n0 -- "Switched" --> n2\n'
        "  style n1 stroke:#d33,stroke-width:3px\n"
    )
    wrong = problems({"a": [Counter(1)], "b": [Lamp()]}, Counter >> Count >> Lamp)
    assert wrong


def test_an_arrow_that_is_wrong_is_red() -> None:
    with pytest.raises(nano.WiringError) as caught:
        made({"a": [Blink()], "b": [Both(), Adder()]}, Blink >> Switched >> (Both, Adder))
    assert caught.value.picture.endswith("  linkStyle 1 stroke:#d33,stroke-width:3px\n")


def test_one_that_does_nothing_is_an_error() -> None:
    class Idle(nano.Handler):
        pass

    (found,) = problems({"a": [Idle()]})
    assert found == "Idle takes nothing, has no on_loop, and no route begins at it"


def test_one_that_never_emits_the_type_is_an_error() -> None:
    (found,) = problems({"a": [Blink(), Lamp(), Both()]}, Blink >> Failed >> Both, Blink >> Switched >> Lamp)
    assert found == "Blink does not emit Failed, but Switched"


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = problems({"a": [Blink(), Lamp(), Adder()]}, Blink >> Switched >> Both, Counter >> Count >> Lamp)
    assert found == (
        "Blink >> Switched >> Both: no worker has Both",
        "Counter >> Count >> Lamp: no worker has Counter",
        "nobody reaches Lamp: no route leads to it",
        "nobody reaches Adder: no route leads to it",
    )


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ({"a": []}, "the worker 'a' is given a list of handlers, one at least"),
        ({"a": "Lamp"}, "the worker 'a' is given a list of handlers, one at least"),
        ({"a": [Lamp]}, "the worker 'a' is given the class Lamp; make one of it"),
        ({"": [Blink()]}, "the name of a worker has 1 to 48 UTF-8 bytes, got ''"),
        ({"x" * 49: [Blink()]}, "the name of a worker has 1 to 48 UTF-8 bytes, got 'xxx"),
    ],
)
def test_workers_that_are_none_are_refused(workers: Any, said: str) -> None:
    assert problems(workers)[0].startswith(said)


def test_a_handler_stands_once() -> None:
    blink = Blink()
    assert problems({"a": [blink], "b": [blink]}) == ("one Blink stands twice among the workers",)


def test_what_is_no_route_is_refused() -> None:
    (found, _) = problems({"a": [Blink(), Both()]}, Blink >> Switched)  # type: ignore[arg-type]
    assert found == "a route is Source >> Message >> Receiver, got Blink >> Switched"


def test_a_handler_that_is_refused_is_not_missed_as_well() -> None:
    for given in (Unannotated(), Unannotated):
        (found,) = problems({"a": [Blink(), given]}, Blink >> Switched >> Unannotated)
        assert "Unannotated" in found
        assert "no worker has" not in found
    handler = Unannotated()
    (found,) = problems({"a": [Blink(), handler]}, Blink >> Switched >> handler)
    assert "no worker has" not in found


class Unannotated(nano.Handler):
    def handle(self, message) -> None:  # type: ignore[no-untyped-def]
        pass


class AnyType(nano.Handler):
    def handle(self, message: Any) -> None:
        pass


class Coroutine(nano.Handler):
    async def handle(self, message: Switched) -> None:
        pass


class Generator(nano.Handler):
    def handle(self, message: Switched) -> Any:
        yield message


class Many(nano.Handler):
    def handle(self, message: Switched, out: nano.Emit, more: int) -> None:
        pass


class ByName(nano.Handler):
    def handle(self, *, message: Switched) -> None:
        pass


class Twice(nano.Handler):
    def handle(self, message: Switched) -> None:
        pass

    def handle_again(self, message: Switched | Failed) -> None:
        pass


class Nowhere(nano.Handler):
    def handle(self, message: NoSuchThing) -> None:  # type: ignore[name-defined] # noqa: F821
        pass


class Nothing(nano.Handler):
    def handle(self) -> None:
        pass


class Starting(nano.Handler):
    def on_start(self, out: nano.Emit, more: int) -> None:
        pass


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Unannotated, "Unannotated.handle says by the annotation of its first argument which type it takes"),
        (AnyType, "AnyType.handle says by the annotation of its first argument which type it takes"),
        (Coroutine, "Coroutine.handle is a coroutine; handlers are plain functions"),
        (Generator, "Generator.handle is a generator; call `out` for each message"),
        (Many, "Many.handle takes a message and perhaps `out`, nothing else"),
        (ByName, "ByName.handle takes its arguments by position"),
        (Twice, "Twice.handle_again takes Switched, which another method of it takes already"),
        (Nowhere, "an annotation of Nowhere.handle cannot be resolved: name 'NoSuchThing' is not defined"),
        (Nothing, "Nothing.handle takes a message and perhaps `out`, nothing else"),
        (Starting, "Starting.on_start takes perhaps `out`, nothing else"),
    ],
)
def test_methods_that_cannot_be_used_are_named(kind: type[nano.Handler], said: str) -> None:
    assert problems({"a": [kind()]})[0].startswith(said)


def test_handlers_need_no_base() -> None:
    made({"a": [Blink(), Plain()]}, Blink >> Switched >> Plain)
    made({"a": [Blink(), Plain()]}, nano.Route(Blink, Switched, (Plain,)))


def test_a_class_means_all_its_handlers_and_a_handler_means_itself() -> None:
    first, second = Lamp(), Lamp()
    app = made({"a": [Blink(), first, second]}, Blink >> Switched >> Lamp)
    assert app.graph().count("-->") == 2
    third = Lamp()
    app = made(
        {"a": [Blink(), third], "b": [Both()]}, Blink >> Switched >> (third, Both), third >> Failed >> Both
    )
    assert app.graph().count("-->") == 3


def test_a_route_given_twice_is_one() -> None:
    app = made({"a": [Blink(), Both()]}, Blink >> Switched >> Both, Blink >> Switched >> (Both, Both))
    assert app.graph().count("-->") == 1


def test_a_type_below_the_one_that_is_taken_is_taken() -> None:
    class Warm(nano.Handler):
        def on_loop(self, out: nano.Emit[Warmer]) -> float:
            return math.inf

    made({"a": [Warm(), AnyCelsius()]}, Warm >> Warmer >> AnyCelsius)


def test_two_types_of_one_name_are_refused() -> None:
    other = type("Switched", (), {"__annotations__": {}})

    class Gives(nano.Handler):
        def on_loop(self, out: nano.Emit) -> float:
            return math.inf

    class Takes(nano.Handler):
        def handle(self, message: Any) -> None:
            pass

        handle.__annotations__["message"] = other

    found = problems(
        {"a": [Blink(), Both(), Gives(), Takes()]}, Blink >> Switched >> Both, Gives >> other >> Takes
    )
    assert "two types of messages are called Switched; rename one" in found


def test_a_type_that_cannot_be_carried_is_refused() -> None:
    class Odd(nano.Array):
        dtype = "object"

    class Gives(nano.Handler):
        def on_loop(self, out: nano.Emit) -> float:
            return math.inf

    class Takes(nano.Handler):
        def handle(self, message: Any) -> None:
            pass

        handle.__annotations__["message"] = Odd

    (found,) = problems({"a": [Gives(), Takes()]}, Gives >> Odd >> Takes)
    assert found.startswith("Odd cannot be carried: ")


class Undeclared:
    """No dataclass: nobody knows what it has."""


@dataclass
class Parcel:
    number: int
    within: list[Undeclared]


@dataclass
class Tree:
    weight: numbers.Number
    below: list[Tree]


class Handed(nano.Handler):
    def handle(self, message: Undeclared | Parcel | Tree) -> None:
        pass


class Hands(nano.Handler):
    def on_loop(self, out: nano.Emit) -> float:
        return math.inf


@pytest.mark.parametrize("codec", ["msgspec", "cbor"])
@pytest.mark.parametrize("kind", [Undeclared, Parcel])
def test_a_class_that_msgspec_does_not_know_is_refused(kind: Any, codec: str) -> None:
    (found,) = problems({"a": [Hands(), Handed()]}, Hands >> kind >> Handed, codec=codec)
    assert found.startswith(
        f"{kind.__name__} cannot be carried: msgspec does not know the class Undeclared: "
    )
    made({"a": [Hands(), Handed()]}, Hands >> kind >> Handed, codecs={kind: "pickle"})
    made({"a": [Hands(), Handed()]}, Hands >> Tree >> Handed, codec=codec)


@pytest.mark.parametrize("codec", ["json", "", 5])
def test_a_codec_that_is_none_is_refused(codec: Any) -> None:
    (found,) = problems({"a": [Blink(), Both()]}, Blink >> Switched >> Both, codec=codec)
    assert found.startswith("Switched cannot be carried: a codec is one of 'msgspec', 'cbor', 'pickle' or a")


def test_ways_to_make_processes_are_known() -> None:
    with pytest.raises(ValueError, match="'fork', 'spawn' or 'forkserver', got 'thread'"):
        made({"a": [Blink(), Both()]}, Blink >> Switched >> Both, processes="thread")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bus": nano.RingBus}, "bus= takes a RingBus, a BlockingBus or a FileBus, got the class RingBus"),
        ({"bus": "ring"}, "got a str"),
        ({"joined": busway.AsyncBus()}, "joined= takes a busway.Bus, whose calls block, got a AsyncBus"),
    ],
)
def test_another_sort_of_bus_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        nano.App(
            **{"bus": nano.RingBus(4096), "workers": {"a": [Blink(), Both()]}, **options},
            routes=[Blink >> Switched >> Both],
        )


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        (nano.Endpoint("lab/x", kind="brodcast"), "kind must be one of"),  # type: ignore[arg-type]
        (nano.Endpoint("lab/x", realm="lokal"), "realm must be one of"),  # type: ignore[arg-type]
        (nano.Endpoint("lab/*"), "it is a pattern"),
        (nano.Endpoint(""), "an endpoint's name must have 1 to 64 UTF-8 bytes"),
    ],
)
def test_endpoints_that_cannot_be_are_refused(endpoint: nano.Endpoint, said: str) -> None:
    for routes in ([endpoint >> Switched >> Both], [Blink >> Switched >> (Both, endpoint)]):
        found = problems({"a": [Blink(), Both()]}, *routes)
        assert [each for each in found if each.startswith(f"Endpoint({endpoint.name!r}): {said}")]


def test_a_source_that_subscribes_may_be_a_pattern() -> None:
    every = nano.Endpoint("lab/*", kind="broadcast")
    made({"a": [Both()]}, every >> Switched >> Both)
    (found,) = problems({"a": [Blink(), Both()]}, Blink >> Switched >> (Both, every))
    assert "is a pattern" in found


def test_types_that_cannot_be_told_apart_at_an_endpoint_are_refused() -> None:
    inbox = nano.Endpoint("lab/in")
    (found,) = problems({"a": [Both()]}, inbox >> Switched >> Both, inbox >> Failed >> Both)
    assert found.startswith(
        "Endpoint('lab/in') is the source of 2 types; declare Switched with @busway.message"
    )
    made({"a": [Both()]}, inbox >> Switched >> Both)
    assert Reading(1.0).celsius == 1.0


# ---- drawings


def test_svg_is_xml_and_says_all_names() -> None:
    app = made(
        {"a & b": [Blink(), Lamp()], "c": [Both()]},
        Blink >> Switched >> Lamp,
        Lamp >> Failed >> (Both, nano.Endpoint("lab/<lamp>")),
    )
    root = ElementTree.fromstring(app.graph("svg"))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Switched", "Failed", "Failed", "Blink", "Lamp", "Both", "lab/<lamp>"]
    assert [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")] == [
        "a & b",
        "a & b",
        "c",
    ]
    assert 'n3(["lab/<lamp>"])' in app.graph()


def test_arrows_go_from_left_to_right_where_there_is_no_circle() -> None:
    def arrow(source: int, target: int) -> graph.Arrow:
        return graph.Arrow(source, "x", target)

    chain = [arrow(0, 1), arrow(1, 2), arrow(0, 2), arrow(2, 3)]
    assert graph.columns(4, chain) == [0, 1, 2, 3]
    circle = graph.columns(3, [arrow(0, 1), arrow(1, 2), arrow(2, 0)])
    assert sorted(circle) == [0, 1, 2]
    assert graph.columns(2, [arrow(1, 1)]) == [0, 0]
    nodes = [graph.Node("n", "w")] * 3
    drawn = graph.svg(nodes, [arrow(0, 1), arrow(1, 2), arrow(2, 0)])
    assert len(re.findall(r'<path d="M\d+ \d+C', drawn)) == 1
    assert graph.svg([], []).startswith("<svg")


def test_quotes_in_names_do_not_end_them() -> None:
    assert '"a#quot;b"' in graph.mermaid([graph.Node('a"b', "w")], [])


def test_keepers_are_found_in_the_graph() -> None:
    assert "Keeper" in made({"a": [Counter(1), Keeper("x")]}, Counter >> Count >> Keeper).graph()
