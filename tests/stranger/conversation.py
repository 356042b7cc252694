"""The talk of a leaf on one link, without input or output: numbers, credit, endpoints, requests, parts
(sections 4, 5 and 7 of the page).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.stranger import wire
from tests.stranger.session import OPEN, Session
from tests.stranger.wire import Frame, u16

GLOBAL: Final = "GLOBAL"
NO_ENDPOINT: Final = 1
WRONG_KIND: Final = 7
NOT_A_STREAM: Final = 10
PART_LOST: Final = 11
OVERTAKEN: Final = 14
HANDLER_FAILED: Final = 64
_OVERHEAD: Final = 64  # of a frame besides its payload, at most: bindings, routing header, options
Handler = Callable[[Any], Any]


def newer(a: int, b: int) -> bool:
    """RFC 1982."""
    return 0 < (a - b) % 65536 < 32768


class Numbers:
    """Numbers that we bind; when all are used, the oldest is bound anew."""

    def __init__(self, most: int, fixed: tuple[bytes, ...] = ()) -> None:
        self._first = len(fixed) + 1
        self._most = max(self._first, most)
        self._of = {key: number for number, key in enumerate(fixed, 1)}

    def of(self, key: bytes) -> tuple[int, bool]:
        """The number, and whether it is to be bound."""
        if key in self._of:
            return self._of[key], False
        used = sorted(self._of.values())
        number = used[-1] + 1 if used and used[-1] >= self._first else self._first
        if number > self._most:
            oldest = next(each for each, number in self._of.items() if number >= self._first)
            number = self._of.pop(oldest)
        self._of[key] = number
        return number, True


class Endpoint:
    """One that others reach here."""

    def __init__(self, name: str, kind: str, handler: Handler, window: int) -> None:
        self.name = name
        self.id = wire.endpoint_of(name)
        self.kind = kind
        self.handler = handler
        self.window = window


class OutFlow:
    """Our messages to one endpoint of one node."""

    def __init__(self, credit: int) -> None:
        self.seq = 0
        self.limit = credit


class InFlow:
    """One origin's messages to one of our endpoints."""

    def __init__(self, last: int, window: int) -> None:
        self.last = last
        self.window = window
        self.told = last + window  # the limit as its origin knows it
        self.missed = 0


class Waiting:
    """A request, or a confirmed send, without an outcome yet."""

    def __init__(self, key: bytes, window: int) -> None:
        self.key = key
        self.window = window
        self.parts: list[Frame] = []
        self.read = 0  # parts that the program has taken
        self.next = 0
        self.outcome: Frame | None = None


class Serving:
    """A request that somebody waits for."""

    def __init__(self, message: Frame, endpoint: Endpoint) -> None:
        self.message = message
        self.endpoint = endpoint
        self.limit = message.get("stream", 0)
        self.cancelled = False

    def takes(self, part: int) -> bool:
        """Whether that part may be sent, or none is wanted any more."""
        return self.cancelled or part < self.limit


class Conversation:
    """Give it what the session read; what is to be sent goes into the session's `out`."""

    def __init__(self, session: Session, endpoints: list[Endpoint], label: str) -> None:
        self.session = session
        self.endpoints = {endpoint.id: endpoint for endpoint in endpoints}
        self.label = label
        self.opened = self.synced = False
        self.holders: dict[bytes, list[Frame]] = {}
        self.out_flows: dict[tuple[bytes, bytes], OutFlow] = {}
        self.in_flows: dict[tuple[bytes, bytes], InFlow] = {}
        self.waiting: dict[int, Waiting] = {}
        self.serving: dict[tuple[bytes, int], Serving] = {}
        self.begun: list[Serving | tuple[Endpoint, Frame]] = []  # for the program
        self.undeliverable: list[int] = []  # reasons
        self.beyond_realm = 0  # broadcasts that have crossed more than their REACH
        self._published: dict[bytes, int] = {}
        self._last_id = 0
        self._ids = self._nodes = Numbers(1)

    def heard(self, frames: list[Frame]) -> None:
        if not self.opened and self.session.state == OPEN:
            self._open()
        for frame in frames:
            kind = frame["kind"]
            if kind == "SYNC" and frame["stage"] == 3:
                self.synced = True
            elif frame.get("whole") and frame["to"] == self.session.me and not frame.get("skipped"):
                self._message(frame)

    def _open(self) -> None:
        self.opened = True
        most = self.session.limits["aliases_max"]
        self._ids = Numbers(most)
        self._nodes = Numbers(max(3, most), (self.session.me, self.session.peer))
        # A leaf sends its lines without being asked, and stage 3 behind them.
        if self.endpoints:
            entries = [
                {
                    "endpoint": each.id.hex(),
                    "kind": each.kind,
                    "credit": each.window,
                    "cost": 0,
                    "name": each.name,
                }
                for each in self.endpoints.values()
            ]
            line: Frame = {"kind": "DIRECTORY", "realm": GLOBAL, "leaf": True, "more": False, "label": None}
            line |= {"node": {"number": 1}, "base": 0, "version": len(entries), "entries": entries}
            self.session.write(line)
        self.session.write({"kind": "SYNC", "stage": 3})

    # ---- writing

    def say(self, frame: Frame, to: bytes, endpoint: bytes = b"") -> None:
        """Write a message, cut if it does not fit a frame."""
        if endpoint:
            number, binds = self._ids.of(endpoint)
            frame |= {"endpoint": endpoint.hex(), "endpoint_alias": number}
            if binds:
                frame["endpoint_binds"] = True
        if to and to != self.session.peer:
            number, binds = self._nodes.of(to)
            node = {"number": number, "id": to.hex()} if binds else {"number": number}
            frame["routing"] = {"realm": 0, "hops": 255, "destination": node}
        most = self.session.limits["frame_size_max"]
        payload = bytes.fromhex(frame.get("payload", ""))
        if len(payload) + _OVERHEAD <= most:
            self.session.write(frame)
            return
        first = most - _OVERHEAD
        frame |= {"cut": {"partial": 0, "size": len(payload)}, "payload": payload[:first].hex()}
        self.session.write(frame)
        for at in range(first, len(payload), most - 2):
            self.session.write({"kind": "MORE", "partial": 0, "payload": payload[at : at + most - 2].hex()})

    def signal(self, name: str, to: bytes, endpoint: bytes = b"", **fields: Any) -> None:
        self.say({"kind": "SIGNAL", "signal": name, **fields}, to, endpoint)

    def ask(self, endpoint: bytes) -> None:
        """Asks who has it; the answer stands in `holders`."""
        self.signal("WHO", self.session.peer, endpoint)

    def flow_to(self, endpoint: bytes) -> tuple[bytes, OutFlow] | None:
        """The nearest holder and the flow there; None if nobody has the endpoint, as far as is known."""
        for holder in self.holders.get(endpoint, []):
            if holder["kind"] in ("unicast", "anycast"):
                key: bytes = holder["key"]
                return key, self.out_flows.setdefault((key, endpoint), OutFlow(holder["credit"]))
        return None

    def send(
        self, kind: str, to: bytes, endpoint: bytes, content: Frame, timeout_ms: int, window: int
    ) -> int:
        """SEND, CONFIRM or REQUEST, with credit. Returns its id, 0 for SEND."""
        flow = self.out_flows[to, endpoint]
        flow.seq += 1
        frame: Frame = {"kind": kind, "seq": flow.seq & 0xFFFF, **content}
        if kind != "SEND":
            self._last_id += 1
            frame |= {"id": self._last_id, "timeout_ms": timeout_ms}
            self.waiting[self._last_id] = Waiting(to, window)
        if window:
            frame["stream"] = window
        self.say(frame, to, endpoint)
        return 0 if kind == "SEND" else self._last_id

    def publish(self, endpoint: bytes, content: Frame) -> None:
        seq = self._published[endpoint] = self._published.get(endpoint, 0) + 1
        frame = {"kind": "PUBLISH", "reach": GLOBAL, "seq": seq & 0xFFFF, **content}
        self.say(frame, b"", endpoint)

    def has_part(self, id: int) -> bool:
        """Whether a part has come, or none will."""
        return bool(self.waiting[id].parts) or self.waiting[id].outcome is not None

    def take_part(self, id: int) -> Frame | None:
        """The next part that has come, or None; lets the server send more."""
        waiting = self.waiting[id]
        if not waiting.parts:
            return None
        waiting.read += 1
        self.signal("PART_CREDIT", waiting.key, id=id, limit=(waiting.read + waiting.window) & 0xFFFF)
        return waiting.parts.pop(0)

    def cancel(self, id: int) -> None:
        waiting = self.waiting.pop(id, None)
        if waiting is not None and waiting.outcome is None:
            self.signal("CANCEL", waiting.key, id=id)

    # ---- reading

    def _message(self, frame: Frame) -> None:
        kind = frame["kind"]
        if kind == "SIGNAL":
            self._signal(frame)
        elif kind in ("REPLY", "PART", "ERROR"):
            self._answer(frame)
        else:
            self._arrived(frame)

    def _answer(self, frame: Frame) -> None:
        waiting = self.waiting.get(frame["id"])
        if waiting is None or waiting.key != frame["from"] or waiting.outcome is not None:
            return  # late, or nobody's
        if frame["kind"] != "PART":
            waiting.outcome = frame
        elif frame["index"] == waiting.next & 0xFFFF:
            waiting.next += 1
            waiting.parts.append(frame)
        else:
            waiting.outcome = {"kind": "ERROR", "code": PART_LOST, "payload": ""}

    def _arrived(self, frame: Frame) -> None:
        endpoint = self.endpoints.get(bytes.fromhex(frame["endpoint"]))
        if endpoint is None:
            self._refuse(frame, NO_ENDPOINT)
            return
        if (endpoint.kind == "broadcast") != (frame["kind"] == "PUBLISH"):
            self._refuse(frame, WRONG_KIND)
            return
        if self.session.crossed(frame) > wire.REALMS.index(frame.get("reach", GLOBAL)):
            self.beyond_realm += 1
            return
        flow = self._flow_from(frame, endpoint, frame["seq"] - 1)
        if not newer(frame["seq"], flow.last):
            self._refuse(frame, OVERTAKEN)
            return
        flow.missed += (frame["seq"] - flow.last - 1) % 65536
        flow.last += (frame["seq"] - flow.last) % 65536
        if frame["kind"] == "REQUEST":
            serving = self.serving[frame["from"], frame["id"]] = Serving(frame, endpoint)
            self.begun.append(serving)
        else:
            self.begun.append((endpoint, frame))
        if frame["kind"] == "CONFIRM":
            self.say({"kind": "REPLY", "id": frame["id"], "payload": ""}, frame["from"])
        # Our programs take at once; so the window opens again as soon as half of it is used.
        if endpoint.kind != "broadcast" and flow.told - flow.last <= flow.window // 2:
            self._credit(frame, endpoint, flow)

    def _flow_from(self, frame: Frame, endpoint: Endpoint, last: int) -> InFlow:
        return self.in_flows.setdefault((frame["from"], endpoint.id), InFlow(last, endpoint.window))

    def _credit(self, frame: Frame, endpoint: Endpoint, flow: InFlow) -> None:
        flow.told = flow.last + flow.window
        self.signal("CREDIT", frame["from"], endpoint.id, limit=flow.told & 0xFFFF)

    def _refuse(self, frame: Frame, reason: int) -> None:
        if frame["kind"] == "SEND":
            endpoint = bytes.fromhex(frame["endpoint"])
            self.signal("UNDELIVERABLE", frame["from"], endpoint, seq=frame["seq"], reason=reason)
        elif frame["kind"] != "PUBLISH":
            self.say({"kind": "ERROR", "id": frame["id"], "code": reason, "payload": ""}, frame["from"])

    def _signal(self, frame: Frame) -> None:
        name, source = frame["signal"], frame["from"]
        endpoint = bytes.fromhex(frame.get("endpoint", ""))
        if name == "HAVE" and source == self.session.peer:
            self.holders[endpoint] = frame["holders"]
        elif name == "CREDIT" and (source, endpoint) in self.out_flows:
            flow = self.out_flows[source, endpoint]
            if newer(frame["limit"], flow.limit & 0xFFFF):
                flow.limit += (frame["limit"] - flow.limit) % 65536
        elif name == "PROBE" and endpoint in self.endpoints:
            self._probed(frame, self.endpoints[endpoint])
        elif name == "UNDELIVERABLE":
            self.undeliverable.append(frame["reason"])
        elif name in ("CANCEL", "PART_CREDIT") and (source, frame["id"]) in self.serving:
            self._served(frame, self.serving[source, frame["id"]])
        elif name == "END" and frame["id"] in self.waiting and self.waiting[frame["id"]].key == source:
            self._ended(frame, self.waiting[frame["id"]])
        elif name == "TRACE":
            report = {"realm": 1, "cost": 1, "medium": "stranger", "label": self.label}
            self.signal("TRACED", source, id=frame["id"], report=report)
        elif name == "WHO":
            self.signal("HAVE", source, endpoint, holders=[])

    def _probed(self, frame: Frame, endpoint: Endpoint) -> None:
        flow = self._flow_from(frame, endpoint, frame["sent"])
        if newer(frame["sent"], flow.last):
            flow.missed += (frame["sent"] - flow.last) % 65536
            flow.last += (frame["sent"] - flow.last) % 65536
        if endpoint.kind != "broadcast":
            self._credit(frame, endpoint, flow)

    def _served(self, frame: Frame, serving: Serving) -> None:
        if frame["signal"] == "CANCEL":
            serving.cancelled = True
            del self.serving[frame["from"], frame["id"]]
        elif newer(frame["limit"], serving.limit & 0xFFFF):
            serving.limit += (frame["limit"] - serving.limit) % 65536

    def _ended(self, frame: Frame, waiting: Waiting) -> None:
        lost = frame["parts"] != waiting.next & 0xFFFF
        if waiting.outcome is None:
            waiting.outcome = {"kind": "ERROR", "code": PART_LOST, "payload": ""} if lost else frame

    # ---- serving

    def answer(self, serving: Serving, frame: Frame) -> None:
        """REPLY, PART, ERROR or the signal END to a request that is still wanted."""
        message = serving.message
        frame = {**frame, "id": message["id"]}
        if not serving.cancelled:
            self.say(frame, message["from"])
            if frame["kind"] != "PART":
                self.serving.pop((message["from"], message["id"]), None)


def parts_of(result: Any) -> Iterator[Any] | None:
    """Whether a handler's result is an answer in parts."""
    return result if isinstance(result, Iterator) else None


def end_of(parts: int) -> Frame:
    return {"kind": "SIGNAL", "signal": "END", "parts": int.from_bytes(u16(parts), "big")}
