"""The golden vectors, read by a stranger's code."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.rigs.tree import ROOT
from tests.stranger import packets, wire
from tests.stranger.conversation import Conversation, Endpoint
from tests.stranger.session import CLOSED, Session
from tests.stranger.wire import Fault, Frame, Reader, Short

FOLDER = ROOT / "tests" / "vectors"


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


SETUP = load("setup.json")
# What a handshake refuses has numbers that a stranger with one pattern need not tell apart.
# RUN is a feature that it has not, nor does it take things.
ERRORS = [
    vector
    for vector in load("errors.json")["vectors"]
    if vector["state"] not in ("securing", "open with runs", "open with things")
]
FRAMES = [vector for vector in load("frames.json")["vectors"] if not vector["state"].startswith("open with")]
PACKETS = load("packets.json")


def session_in(state: str) -> Session:
    how = SETUP["states"][state]
    session = Session(SETUP["own"])
    assert session.out.hex() == how.get("sends", SETUP["sends"])
    session.out.clear()
    session.receive(bytes.fromhex(how["feed"]))
    assert session.code == -1, session.text
    return session


def as_the_vectors_say(frame: Frame) -> Frame:
    plain = {name: value for name, value in frame.items() if name not in ("from", "to")}
    if "holders" in plain:
        plain["holders"] = [{k: v for k, v in each.items() if k != "key"} for each in plain["holders"]]
    return plain


def test_varints() -> None:
    vectors = load("varints.json")
    for vector in vectors["good"]:
        assert Reader(bytes.fromhex(vector["hex"])).varint() == vector["value"]
        if vector["canonical"]:
            assert wire.varint(vector["value"]).hex() == vector["hex"]
    for vector in vectors["refused"]:
        with pytest.raises(Fault) as caught:
            Reader(bytes.fromhex(vector["hex"])).varint()
        assert caught.value.code == 9
    for vector in vectors["incomplete"]:
        with pytest.raises(Short):
            Reader(bytes.fromhex(vector["hex"])).varint()


def test_names() -> None:
    vectors = load("names.json")
    assert uuid.UUID(vectors["namespace"]) == wire.NAMESPACE
    for vector in vectors["names"]:
        assert wire.endpoint_of(vector["name"]).hex() == vector["uuid"]


@pytest.mark.parametrize("vector", ERRORS, ids=[vector["name"] for vector in ERRORS])
def test_errors(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"])
    for step in (len(raw), 1):
        session = session_in(vector["state"])
        for at in range(0, len(raw), step):
            session.receive(raw[at : at + step])
        wanted = (-1, 0) if vector["code"] is None else (vector["code"],)
        assert session.code in wanted, session.text


@pytest.mark.parametrize("vector", FRAMES, ids=[vector["name"] for vector in FRAMES])
def test_frames(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"])
    if vector["state"] == "greeting":  # what it says, not whether a node takes it: that is in errors.json
        reader = Reader(raw)
        assert [wire.read_control(reader.take(reader.varint()), None)] == vector["frames"]
        assert not reader.left()
    else:
        _check_open(vector, raw)
    if vector["canonical"]:
        bodies = [_written(frame) for frame in vector["frames"]]
        assert b"".join(wire.varint(len(body)) + body for body in bodies) == raw


def _check_open(vector: dict[str, Any], raw: bytes) -> None:
    session = session_in(vector["state"])
    found = session.receive(raw)
    frames = [as_the_vectors_say(frame) for frame in found if not frame.get("whole")]
    assert frames == vector["frames"]
    whole = [frame for frame in found if frame.get("whole")]
    for message, wanted in zip(whole, vector.get("messages", whole), strict=True):
        assert {name: message[name] for name in wanted} == wanted
    assert session.skipped == sum(frame.get("skipped", False) for frame in vector["frames"])
    assert (session.state == CLOSED) == any(frame["kind"] == "CLOSE" for frame in vector["frames"])


def _written(frame: Frame) -> bytes:
    if frame["kind"] == "IGNORED":
        return bytes([frame["head"]]) + bytes.fromhex(frame["payload"])
    return wire.write(frame)


@pytest.mark.parametrize(
    "vector", PACKETS["coded"], ids=[vector["plain"][:20] for vector in PACKETS["coded"]]
)
def test_cobs(vector: dict[str, Any]) -> None:
    assert packets.cobs(bytes.fromhex(vector["plain"])).hex() == vector["coded"]
    assert packets.uncobs(bytes.fromhex(vector["coded"])) == bytes.fromhex(vector["plain"])


def test_a_broadcast_that_has_crossed_more_than_its_reach_is_dropped_and_counted() -> None:
    session = session_in("open")  # USERSPACE at both sides
    heard: list[Any] = []
    conversation = Conversation(session, [Endpoint("far/news", "broadcast", heard.append, 4)], "a")
    frame: Frame = {"kind": "PUBLISH", "endpoint_alias": 1, "endpoint_binds": True, "format": 0}
    frame |= {"endpoint": wire.endpoint_of("far/news").hex(), "routing": {"realm": 2, "hops": 254}}
    reaches: tuple[Frame, ...] = ({"reach": "USERSPACE"}, {"reach": "LOCALNET"}, {"reach": "GLOBAL"}, {})
    for number, reach in enumerate(reaches, 1):
        body = wire.write({**frame, **reach, "seq": number, "payload": f"{number:02x}"})
        conversation.heard(session.receive(wire.varint(len(body)) + body))
    assert [each[1]["payload"] for each in conversation.begun if isinstance(each, tuple)] == [
        "02",
        "03",
        "04",
    ]
    assert conversation.beyond_realm == 1


def test_checksums() -> None:
    for vector in PACKETS["checksums"]:
        raw = bytes.fromhex(vector["hex"])
        assert packets.crc16(raw) == vector["crc16_sent"] == vector["crc16"] ^ 0xFFFF
        assert packets.crc32(raw) == vector["crc32"]


@pytest.mark.parametrize("trace", PACKETS["traces"], ids=[trace["name"] for trace in PACKETS["traces"]])
def test_packet_traces(trace: dict[str, Any]) -> None:
    now = 1000
    session = packets.PacketSession(bytes.fromhex("01020304"), trace["mtu"], now, trace.get("says", 0))
    for step in trace["steps"]:
        now += step.get("wait", 0)
        if "write" in step:
            assert [packet.hex() for packet in session.write(_source(step["write"]), now)] == step["packets"]
        elif "read" in step:
            assert session.receive(bytes.fromhex(step["read"]), now).hex() == step["stream"]
        elif "offer" in step:
            session.offer(bytes.fromhex(step["offer"]))
        elif "log" in step:
            session.log(bytes.fromhex(step["log"]))
        for name, value in step.get("tells", {}).items():
            told = [text.hex() for text in session.texts] if name == "texts" else getattr(session, name)
            assert told == value, name


def _source(text: str) -> Any:
    left = bytearray.fromhex(text)

    def take(size: int) -> bytes:
        taken = bytes(left[:size])
        del left[:size]
        return taken

    return take
