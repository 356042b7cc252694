"""A leaf with a thread of its own for a link, and calls that wait, for programs."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import cbor2

from tests.stranger import conversation, wire
from tests.stranger.carriers import Carrier, SerialCarrier
from tests.stranger.conversation import Conversation, Endpoint, Handler, Serving
from tests.stranger.session import CLOSED, Session
from tests.stranger.wire import Frame

_WINDOW: Final = 4


class Failed(Exception):
    """An ERROR with its code and sentence."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


def now_ms() -> int:
    return int(time.monotonic() * 1000)


def content_of(value: Any) -> Frame:
    """bytes as they are, all else as CBOR."""
    if isinstance(value, bytes):
        return {"format": 0, "payload": value.hex()}
    return {"format": 1, "payload": cbor2.dumps(value).hex()}


def value_of(frame: Frame) -> Any:
    raw = bytes.fromhex(frame["payload"])
    return raw if not frame["format"] else cbor2.loads(raw)


class Leaf:
    """Register what is to be reached here, then `join`."""

    def __init__(
        self, label: str, *, bus: str = "default", token: str | None = None, frame_size_max: int = 4096
    ) -> None:
        self.label = label
        self.bus = bus
        self.token = token
        self.node = b"\x5a" + os.urandom(15)  # its top bit is clear: nobody's key
        self.incarnation = os.urandom(4)
        self._frame_size_max = frame_size_max
        self._endpoints: list[Endpoint] = []
        self._changed = threading.Condition(threading.RLock())
        self._wake_r, self._wake_w = os.pipe()
        self._thread: threading.Thread | None = None
        self.lossy = 0  # frames that came in packets that may be lost

    # ---- before joining

    def serve(self, name: str, handler: Handler, *, kind: str = "anycast", window: int = _WINDOW) -> None:
        """`handler(value)` takes sends and requests; what it returns answers these, an iterator in parts."""
        self._endpoints.append(Endpoint(name, kind, handler, window))

    def subscribe(self, name: str, handler: Callable[[Any], object]) -> None:
        self._endpoints.append(Endpoint(name, "broadcast", handler, _WINDOW))

    def join(self, carrier: Carrier, timeout: float = 60.0) -> None:
        """Raises ConnectionError with the number of the link's error."""
        hello: Frame = {"kind": "HELLO", "version": 2, "leaf": True, "realm": carrier.realm}
        hello |= {"dialled": carrier.dialled, "lookups": False}
        hello |= {
            "node": self.node.hex(),
            "incarnation": self.incarnation.hex(),
        }
        hello |= {"features": 0, "frame_size_max": self._frame_size_max, "message_size_max": 1 << 20}
        hello |= {"aliases_max": 16, "partials_max": 4, "keepalive_ms": carrier.keepalive_ms}
        hello |= {"bus": self.bus, "label": self.label, "via": carrier.via}
        self.session = Session(hello, self.token, packets=isinstance(carrier, SerialCarrier))
        self.conversation = Conversation(self.session, self._endpoints, self.label)
        self.carrier = carrier
        self._read_at = now_ms()
        self._pinged_at = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        with self._changed:
            self._wait(lambda: self.conversation.synced, timeout)

    def close(self) -> None:
        with self._changed:
            if self.session.state != CLOSED:
                self.session.close()
                self._stir()
        if self._thread is not None:
            self._thread.join(60)
        os.close(self._wake_r)
        os.close(self._wake_w)

    # ---- for programs

    def send(self, name: str, value: Any, timeout: float = 60.0) -> None:
        self._submit("SEND", name, value, timeout, 0)

    def confirm(self, name: str, value: Any, timeout: float = 60.0) -> None:
        self._outcome(self._submit("CONFIRM", name, value, timeout, 0), timeout)

    def request(self, name: str, value: Any, timeout: float = 60.0) -> Any:
        return value_of(self._outcome(self._submit("REQUEST", name, value, timeout, 0), timeout))

    def stream(self, name: str, value: Any, timeout: float = 60.0, window: int = 3) -> Iterator[Any]:
        id = self._submit("REQUEST", name, value, timeout, window)
        try:
            while True:
                with self._changed:
                    self._wait(partial(self.conversation.has_part, id), timeout)
                    part = self.conversation.take_part(id)
                    self._stir()
                if part is None:
                    break
                yield value_of(part)
            self._outcome(id, timeout)
        finally:
            with self._changed:
                self.conversation.cancel(id)
                self._stir()

    def publish(self, name: str, value: Any) -> None:
        with self._changed:
            self.conversation.publish(wire.endpoint_of(name), content_of(value))
            self._stir()

    def missed(self, name: str) -> int:
        endpoint = wire.endpoint_of(name)
        return sum(flow.missed for (_, id), flow in self.conversation.in_flows.items() if id == endpoint)

    def _submit(self, kind: str, name: str, value: Any, timeout: float, window: int) -> int:
        endpoint = wire.endpoint_of(name)
        content = content_of(value)
        with self._changed:
            if endpoint not in self.conversation.holders:
                self.conversation.ask(endpoint)
                self._stir()
            self._wait(lambda: self.conversation.flow_to(endpoint) is not None, timeout)
            found = self.conversation.flow_to(endpoint)
            assert found is not None
            to, flow = found
            pause = 1.0
            until = time.monotonic() + timeout
            while flow.seq >= flow.limit:  # blocked: ask, in case credit was lost
                if self._changed.wait_for(
                    lambda: flow.seq < flow.limit or self.session.state == CLOSED, pause
                ):
                    self._wait(lambda: True, 0)
                    continue
                if time.monotonic() > until:
                    raise TimeoutError("no credit")
                self.conversation.signal("PROBE", to, endpoint, sent=flow.seq & 0xFFFF)
                self._stir()
                pause = min(30.0, 2 * pause)
            id = self.conversation.send(kind, to, endpoint, content, int(timeout * 1000), window)
            self._stir()
            return id

    def _outcome(self, id: int, timeout: float) -> Frame:
        with self._changed:
            waiting = self.conversation.waiting[id]
            self._wait(lambda: waiting.outcome is not None, timeout)
            outcome = self.conversation.waiting.pop(id).outcome
        assert outcome is not None
        if outcome["kind"] == "ERROR":
            raise Failed(outcome["code"], bytes.fromhex(outcome["payload"]).decode("utf-8", "replace"))
        return outcome

    def _wait(self, ready: Callable[[], bool], timeout: float) -> None:
        if not self._changed.wait_for(lambda: ready() or self.session.state == CLOSED, timeout):
            raise TimeoutError
        if self.session.state == CLOSED and not ready():
            raise ConnectionError(self.session.code, self.session.text)

    # ---- the link's thread

    def _stir(self) -> None:
        os.write(self._wake_w, b"!")

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except (EOFError, OSError) as error:
            self.session.text = self.session.text or f"the connection ended: {error}"
        with self._changed:
            self.session.state = CLOSED
            self._changed.notify_all()
        self.carrier.close()

    def _step(self) -> bool:
        with self._changed:
            self._keep_alive()
            self.carrier.flush(self.session.out, now_ms())
            if self.session.state == CLOSED:
                return False
        pause = min(0.2, self.carrier.pause(now_ms()))
        ready, _, _ = select.select([self.carrier, self._wake_r], [], [], pause)
        if self._wake_r in ready:
            os.read(self._wake_r, 4096)
        with self._changed:
            if self.carrier in ready:
                self._read()
        return True

    def _read(self) -> None:
        data = self.carrier.receive(now_ms())
        self._read_at = now_ms()
        frames = self.session.receive(data)
        for body in self.carrier.lossy:
            self.lossy += 1
            frames += self.session.receive_body(body)
        self.carrier.lossy.clear()
        self.conversation.heard(frames)
        begun, self.conversation.begun = self.conversation.begun, []
        for each in begun:
            if isinstance(each, Serving):
                threading.Thread(target=self._serve, args=(each,), daemon=True).start()
            else:
                each[0].handler(value_of(each[1]))
        self._changed.notify_all()

    def _keep_alive(self) -> None:
        interval = self.session.limits.get("keepalive_ms", 0)
        if not interval or not self.conversation.opened:
            return
        now = now_ms()
        if now - self._read_at > 3 * interval:
            raise EOFError("silent")
        if now - max(self._read_at, self._pinged_at) > interval:
            self._pinged_at = now
            self.session.write({"kind": "PING", "token": now & 0xFFFF})

    def _serve(self, serving: Serving) -> None:
        try:
            result = serving.endpoint.handler(value_of(serving.message))
            parts = conversation.parts_of(result)
            if parts is None:
                last: Frame = {"kind": "REPLY", **content_of(result)}
            elif "stream" not in serving.message:
                last = {"kind": "ERROR", "code": conversation.NOT_A_STREAM, "payload": ""}
            else:
                last = conversation.end_of(self._serve_parts(serving, parts))
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
            text = f"{type(error).__name__}: {error}"
            last = {"kind": "ERROR", "code": conversation.HANDLER_FAILED, "payload": text.encode().hex()}
        with self._changed:
            if self.session.state != CLOSED:
                self.conversation.answer(serving, last)
                self._stir()

    def _serve_parts(self, serving: Serving, parts: Iterator[Any]) -> int:
        count = 0
        for part in parts:
            with self._changed:
                self._wait(partial(serving.takes, count), 120)
                if serving.cancelled:
                    break
                self.conversation.answer(
                    serving, {"kind": "PART", "index": count & 0xFFFF, **content_of(part)}
                )
                self._stir()
            count += 1
        return count
