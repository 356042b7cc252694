"""The declared format against the golden vectors, the written page, and itself."""

from __future__ import annotations

import ast
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway import wire_names
from tests.reference.plain import VECTORS, buildable, load, plain
from tests.reference.wire import BuildError, Frame, Refused, Stream, Trace, Varint, parse_body
from tests.rigs.tree import ROOT
from tests.vectors.make import FILES, text_of

FRAMES = load("frames.json")["vectors"]
ERRORS = load("errors.json")["vectors"]
VARINTS = load("varints.json")
SETUP = load("setup.json")


def by_name(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def parsed(data: bytes) -> list[dict[str, Any]]:
    aliases: dict[int, bytes] = {}
    return [plain(frame, aliases) for frame in Stream.parse(data)]


def refusal(parse: Callable[..., object], *arguments: object) -> Refused | None:
    try:
        parse(*arguments)
    except Refused as refused:
        return refused
    return None


def uuid_of_page() -> str:
    page = (ROOT / "docs" / "protocol.md").read_text()
    return page.partition("in the namespace\n`")[2].partition("`")[0]


# The vectors themselves


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_what_the_script_writes(name: str) -> None:
    assert (VECTORS / name).read_text(encoding="utf-8") == text_of(FILES[name]), (
        "run python -m tests.vectors.make"
    )


@pytest.mark.parametrize("script", ["make.py", "pieces.py", "frames.py", "errors.py", "handshakes.py"])
def test_no_byte_of_the_vectors_is_computed_by_busway(script: str) -> None:
    for node in ast.walk(ast.parse((VECTORS / script).read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        assert not any(name.split(".")[0] == "busway" for name in [*names, module])


@pytest.mark.parametrize("vectors", [FRAMES, ERRORS], ids=["frames", "errors"])
def test_every_vector_has_its_own_name(vectors: list[dict[str, Any]]) -> None:
    names = [vector["name"] for vector in vectors]
    assert len(names) == len(set(names))


def test_every_kind_and_signal_has_a_vector() -> None:
    frames = [frame for vector in FRAMES for frame in vector["frames"]]
    kinds = {frame["kind"] for frame in frames}
    assert kinds >= {*wire_names.CONTROL_NAMES.values(), *wire_names.KIND_NAMES.values()}
    assert {frame.get("signal") for frame in frames} >= set(wire_names.SIGNAL_NAMES.values())


def test_names_are_uuids_in_the_namespace_of_the_page() -> None:
    names = load("names.json")
    assert uuid.UUID(uuid_of_page()).hex == names["namespace"]
    for entry in names["names"]:
        assert uuid.uuid5(uuid.UUID(names["namespace"]), entry["name"]).hex == entry["uuid"]


# The declared format against the vectors


@pytest.mark.parametrize("vector", VARINTS["good"], ids=lambda vector: str(vector["hex"]))
def test_good_varints(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    assert Varint.parse(data) == vector["value"]
    assert (Varint.build(vector["value"]) == data) == vector["canonical"]


@pytest.mark.parametrize("vector", VARINTS["refused"], ids=lambda vector: str(vector["hex"]))
def test_refused_varints(vector: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        Varint.parse(bytes.fromhex(vector["hex"]))
    assert (caught.value.code, caught.value.short) == (9, False)


@pytest.mark.parametrize("vector", VARINTS["incomplete"], ids=lambda vector: str(vector["hex"]))
def test_incomplete_varints(vector: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        Varint.parse(bytes.fromhex(vector["hex"]))
    assert caught.value.short


@pytest.mark.parametrize("vector", FRAMES, ids=by_name)
def test_frames_parse_to_what_is_expected(vector: dict[str, Any]) -> None:
    assert parsed(bytes.fromhex(vector["hex"])) == vector["frames"]


@pytest.mark.parametrize("vector", [v for v in FRAMES if v["canonical"]], ids=by_name)
def test_building_gives_the_same_bytes(vector: dict[str, Any]) -> None:
    built = b"".join(Frame.build(buildable(frame)) for frame in vector["frames"])
    assert built.hex() == vector["hex"]


@pytest.mark.parametrize("vector", [v for v in FRAMES if not v["canonical"]], ids=by_name)
def test_what_is_not_canonical_differs_in_its_bytes_only(vector: dict[str, Any]) -> None:
    built = b"".join(Frame.build(buildable(frame)) for frame in vector["frames"])
    assert built.hex() != vector["hex"]
    assert parsed(built) == vector["frames"]


@pytest.mark.parametrize("vector", [v for v in ERRORS if v["scope"] != "link" and v["code"]], ids=by_name)
def test_bad_frames_are_refused_with_their_code(vector: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        parse_all(bytes.fromhex(vector["hex"]))
    assert caught.value.code == vector["code"]


def parse_all(data: bytes) -> None:
    """Frame by frame, as a receiver reads: a zero length is refused before there is a body."""
    while data:
        length = Varint.parse(data)
        if length == 0:
            raise Refused(9, "a length of at least 1")
        size = next(index + 1 for index, byte in enumerate(data) if byte < 0x80)
        parse_body(data[size : size + length], Trace())
        data = data[size + length :]


@pytest.mark.parametrize(
    "vector", [v for v in ERRORS if v["scope"] == "link" and v["state"] != "securing"], ids=by_name
)
def test_errors_of_the_link_are_of_good_form(vector: dict[str, Any]) -> None:
    """Else their scope would be "format". Headers alone and unknown heads in GREETING are the exceptions."""
    refused = refusal(Stream.parse, bytes.fromhex(vector["hex"]))
    assert refused is None or refused.short or refused.code == 12


def test_the_setup_leads_where_it_says() -> None:
    own = parsed(bytes.fromhex(SETUP["sends"]))
    assert own == [SETUP["own"]]
    for name, state in SETUP["states"].items():
        frames = parsed(bytes.fromhex(state["feed"]))
        assert [frame["kind"] for frame in frames] == ["HELLO"][: len(frames)], name


# The declared format against the page and the core


def table_of_page(heading: str) -> dict[int, str]:
    """The rows `| number | NAME | ... |` of the table behind a line of the page."""
    page = (ROOT / "docs" / "protocol.md").read_text()
    section = page.partition(heading)[2]
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", section.partition("\n\n|")[2].partition("\n\n")[0], re.M)
    return {int(number): name for number, name in rows}


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Errors of a link, in CLOSE:", wire_names.ERROR_NAMES),
        ("Reasons and codes, in ERROR and UNDELIVERABLE:", wire_names.REASON_NAMES),
    ],
    ids=["errors", "reasons"],
)
def test_the_names_are_those_of_the_page(heading: str, names: dict[int, str]) -> None:
    assert table_of_page(heading) == names


def test_the_signals_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text().partition("## 7. Signals")[2].partition("### 7.1")[0]
    rows = re.findall(r"^\| (\d+) ([A-Z_]+) \|", page, re.M)
    assert {int(number): name for number, name in rows} == wire_names.SIGNAL_NAMES


# The declared format against itself

ids = st.binary(min_size=16, max_size=16)
u8 = st.integers(0, 255)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
positive = st.integers(1, 0xFFFFFFFF)
texts = st.text(max_size=16).filter(lambda text: len(text.encode()) <= 64)
payload = st.binary(max_size=40)
alias = st.fixed_dictionaries({"number": positive, "id": st.none() | ids})
node = st.fixed_dictionaries({"number": positive, "id": st.none()}) | st.fixed_dictionaries(
    {"number": st.integers(3, 0xFFFFFFFF), "id": st.binary(min_size=20, max_size=20)}
)
routing = st.none() | st.fixed_dictionaries(
    {"realm": st.integers(0, 3), "hops": u8, "destination": st.none() | node, "source": st.none() | node}
)
unknown_options = st.fixed_dictionaries(
    {"type": st.sampled_from([9, *range(11, 256)]), "value": st.binary(max_size=9)}
)
cut = st.fixed_dictionaries(
    {"type": st.just(1), "value": st.fixed_dictionaries({"partial": u8, "size": u32})}
)
stream = st.fixed_dictionaries(
    {"type": st.just(2), "value": st.fixed_dictionaries({"window": st.integers(1, 0xFFFF)})}
)
named = st.fixed_dictionaries(
    {"type": st.just(6), "value": st.fixed_dictionaries({"name": texts.filter(bool)})}
)
retain = st.fixed_dictionaries(
    {
        "type": st.just(7),
        "value": st.fixed_dictionaries({"retain": u32.filter(lambda number: number & 0x7FFFFFFF)}),
    }
)


lane = st.fixed_dictionaries(
    {"type": st.just(5), "value": st.fixed_dictionaries({"lane": st.sampled_from([0, 2, 3, 4, 5, 6, 7])})}
)

beside = st.fixed_dictionaries(
    {
        "type": st.just(8),
        "value": st.fixed_dictionaries({"regions": st.integers(0, 32), "files": st.integers(1, 32)}),
    }
)
shared = st.fixed_dictionaries(
    {
        "type": st.just(10),
        "value": st.fixed_dictionaries({"shared": st.binary(min_size=1, max_size=64)}),
    }
)


def options(*known: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]] | None]:
    """No options, or unknown ones with at most one of each known."""
    sets = st.tuples(st.lists(unknown_options, max_size=3), *(st.lists(one, max_size=1) for one in known))
    return st.none() | sets.map(lambda lists: [item for items in lists for item in items])


def a_frame(kind: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(kind), **fields})


def a_message(kind: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    more = {"REQUEST": (stream,), "SEND": (named, retain), "PUBLISH": (named, retain)}
    known = (cut, lane, beside, shared, *more.get(kind, ()))
    fields |= {"routing": routing, "options": options(*known), "payload": payload}
    plainly = a_frame(kind, format=st.integers(0, 2), type=st.none(), **fields)
    typed = a_frame(kind, format=st.just(3), type=alias, **fields)
    return plainly | typed


def a_signal(number: int, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    fields |= {"routing": routing, "options": options(lane)}
    return a_frame("SIGNAL", format=st.just(0), signal=st.just(number), **fields)


def a_run(
    sizes: st.SearchStrategy[int], of_size: Callable[[int], st.SearchStrategy[bytes]]
) -> st.SearchStrategy[dict[str, Any]]:
    return sizes.flatmap(
        lambda size: a_frame(
            "RUN",
            of=st.sampled_from(["SEND", "PUBLISH"]),
            format=st.integers(0, 2),
            routing=routing,
            endpoint=alias,
            seq=u16,
            size=st.just(size),
            payloads=st.lists(of_size(size), min_size=1, max_size=4),
        )
    )


def a_route(number: int, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"route": st.just(number), **fields})


flags = st.fixed_dictionaries(
    {
        "reserved": st.integers(0, 3),
        "lookups": st.booleans(),
        "reserved_too": st.booleans(),
        "dialled": st.booleans(),
        "realm": st.integers(1, 3),
        "leaf": st.booleans(),
    }
)
labels = st.text(min_size=1, max_size=8).filter(lambda label: len(label.encode()) <= 32)
last_words = st.one_of(
    st.fixed_dictionaries({"last_word_format": st.integers(0, 2), "last_word": st.binary(max_size=128)}),
    st.fixed_dictionaries(
        {"last_word_format": st.just(3), "last_word_type": ids, "last_word": st.binary(max_size=128)}
    ),
)
items = st.one_of(
    st.fixed_dictionaries({"type": st.just(1), "value": labels}),
    st.fixed_dictionaries({"type": st.integers(3, 255), "value": st.binary(max_size=20)}),
)
extensions = st.none() | st.tuples(
    st.lists(items, max_size=8),
    st.lists(st.fixed_dictionaries({"type": st.just(2), "value": last_words}), max_size=1),
).map(lambda both: both[0] + both[1])
entries = st.fixed_dictionaries(
    {
        "endpoint_kind": st.integers(1, 3),
        "endpoint": ids,
        "credit": st.none() | u32,
        "cost": st.none() | u32,
        "name": st.none() | texts,
        "extension": extensions,
    }
)
holders = st.fixed_dictionaries(
    {
        "endpoint_kind": st.integers(0, 3),
        "realm": st.integers(0, 3),
        "node": node,
        "metric": u16,
        "credit": st.none() | u32,
        "cost": st.none() | u32,
        "name": st.none() | texts,
        "extension": extensions,
    }
)
chosen = st.fixed_dictionaries(
    {
        "endpoint_kind": st.integers(0, 3),
        "realm": st.integers(0, 3),
        "node": node,
        "endpoint": alias,
        "metric": u16,
        "credit": st.none() | u32,
        "cost": st.none() | u32,
        "name": st.none() | texts,
        "extension": extensions,
    }
)
reports = st.binary(max_size=2) | st.fixed_dictionaries(
    {"realm": u8, "cost": u32, "medium": texts, "label": texts}
)
route_entries = st.one_of(
    a_route(0, node=node),
    a_route(1, node=node, seqno=u16, metric=u16),
    a_route(2, node=node),
    a_route(3, node=node, versions=st.lists(u32, min_size=3, max_size=3)),
    a_route(4, node=node, seqno=u16),
    a_route(5, node=node, seqno=u16),
    a_route(6, count=u16),
)
hellos = a_frame(
    "HELLO",
    version=st.just(2),
    flags=flags,
    node=ids,
    incarnation=st.binary(min_size=4, max_size=4),
    features=u32,
    frame_size_max=u32,
    message_size_max=u32,
    aliases_max=u32,
    partials_max=u32,
    keepalive_ms=u32,
    bus=texts,
    label=texts,
    via=texts,
    options=st.lists(st.fixed_dictionaries({"type": u8, "value": st.binary(max_size=20)}), max_size=3),
)
frames = st.one_of(
    hellos,
    a_frame(
        "HANDSHAKE", version=st.none(), pattern=st.none(), message=st.binary(max_size=99).map(b"-".__add__)
    ),
    a_frame("HANDSHAKE", version=st.just(2), pattern=u8, message=st.binary(max_size=99)),
    a_frame("CLOSE", code=u32, text=texts),
    a_frame("PING", token=u32),
    a_frame("PONG", token=u32),
    a_frame(
        "DIRECTORY",
        realm=st.integers(1, 3),
        leaf=st.booleans(),
        more=st.booleans(),
        in_part=st.booleans(),
        node=node,
        label=st.none() | texts,
        base=u32,
        version=u32,
        entries=st.lists(entries, max_size=4),
    ),
    a_frame("ROUTES", entries=st.lists(route_entries, max_size=5)),
    a_frame("SYNC", stage=u8),
    a_frame("SLEEP", ms=u32),
    a_run(st.integers(4, 9), lambda size: st.binary(min_size=size, max_size=size)),
    a_run(st.just(0), lambda _: st.binary(min_size=4, max_size=9)),
    a_frame("MORE", partial=u8, payload=st.binary(min_size=1, max_size=40)),
    a_message("SEND", endpoint=alias, seq=u16),
    a_message("PUBLISH", endpoint=alias, seq=u16),
    a_message("CONFIRM", endpoint=alias, seq=u16, id=positive, timeout_ms=positive),
    a_message("REQUEST", endpoint=alias, seq=u16, id=positive, timeout_ms=positive),
    a_message("REPLY", id=positive),
    a_message("PART", id=positive, index=u16),
    a_frame("ERROR", format=st.just(0), options=options(cut), id=positive, code=u32, payload=payload),
    a_signal(1, id=positive),
    a_signal(2, endpoint=alias, limit=u16),
    a_signal(3, endpoint=alias, sent=u16),
    a_signal(4, id=positive, limit=u16),
    a_signal(5, endpoint=alias, seq=u16, reason=u8),
    a_signal(6, id=positive, parts=u16),
    a_signal(7, endpoint=alias),
    a_signal(8, endpoint=alias, holders=st.lists(holders, max_size=3)),
    a_signal(9, endpoint=alias, tree=node),
    a_signal(10, endpoint=alias, tree=node),
    a_signal(11, id=positive),
    a_signal(12, id=positive, report=reports),
    a_signal(13, id=positive, expression=payload),
    a_signal(14, id=positive, selected_flags=u8, holders=st.lists(chosen, max_size=3)),
    a_frame("SIGNAL", format=st.just(0), options=options(), signal=st.integers(16, 255), payload=payload),
    a_frame(
        "IGNORED", head=st.integers(0x40, 0x7F).filter(lambda head: head != 0x41), payload=payload
    ),  # SLEEP
)


def holds(found: Any, given: Any) -> bool:
    """Whether every value that was built stands in what was parsed."""
    if isinstance(given, dict):
        return all(holds(found[key], value) for key, value in given.items())
    if isinstance(given, list):
        return len(found) == len(given) and all(map(holds, found, given))
    return bool(found == given)


@given(st.lists(frames, max_size=4))
def test_what_is_built_is_parsed_again(given: list[dict[str, Any]]) -> None:
    found = Stream.parse(b"".join(Frame.build(frame) for frame in given))
    assert holds(list(found), given)


@given(frames)
def test_the_trace_covers_every_byte_once(given: dict[str, Any]) -> None:
    data = Frame.build(given)
    size = 1 if data[0] < 0x80 else 2
    trace = Trace()
    parse_body(data[size:], trace)
    position = 0
    for read in trace.reads:
        assert read.offset == position
        position += read.length
    assert position == len(data) - size
    assert not trace.failed_name


@given(frames)
def test_a_frame_cut_anywhere_is_short_or_of_another_length(given: dict[str, Any]) -> None:
    """A body that lost bytes at its end: its last field takes what is there, or it is refused as short."""
    data = Frame.build(given)
    body = data[1 if data[0] < 0x80 else 2 :]
    for size in range(len(body)):
        trace = Trace()
        refused = refusal(parse_body, body[:size], trace)
        assert refused is None or refused.short or "later piece" in refused.expected
        assert (refused is None) == (not trace.failed_name)
        assert sum(read.length for read in trace.reads) <= size


@given(st.binary(max_size=80))
def test_arbitrary_bodies_are_parsed_or_refused(body: bytes) -> None:
    trace = Trace()
    refused = refusal(parse_body, body, trace)
    if refused is None:
        assert sum(read.length for read in trace.reads) == len(body)
    else:
        assert refused.code in (1, 2, 9, 11, 12)
        assert refused.expected
        assert trace.failed_name
        assert 0 <= trace.failed_offset <= len(body)


LINE = {"kind": "DIRECTORY", "realm": 1, "node": {"number": 1, "id": None}, "base": 0, "version": 1}


@pytest.mark.parametrize(
    "frame",
    [
        {"kind": "PING", "token": 2**32},
        {"kind": "PING", "token": -1},
        {"kind": "REPLY", "format": 0, "id": 0, "payload": b""},
        {"kind": "HANDSHAKE", "message": "text"},
        LINE | {"entries": [{"endpoint_kind": 1, "endpoint": b"", "name": ""}]},
        LINE | {"entries": [{"endpoint_kind": 1, "endpoint": bytes(16), "name": "n" * 65}]},
        LINE | {"node": {"number": 3, "id": bytes(19)}, "entries": []},
    ],
    ids=str,
)
def test_what_does_not_fit_is_not_built(frame: dict[str, Any]) -> None:
    with pytest.raises(BuildError):
        Frame.build(frame)
