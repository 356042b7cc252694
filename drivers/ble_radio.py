"""Runs bleak, which knows only asyncio, on an event loop in a thread of its own: one for the process.

Scans, connects, and moves packets between a connection's two bounded queues and the radio. Knows no URL, and
nothing of who waits for a channel: a socket pair tells them, whose bytes mean nothing but "readable" and
"not writable now".
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakDeviceNotFoundError, BleakError

# UUID version 5 of "busway/ble" in Busway's namespace; bytes 2 and 3 number the parts (docs/protocol.md).
SERVICE: Final = "48120001-f71f-577c-9e12-807faa345906"
RX: Final = "48120002-f71f-577c-9e12-807faa345906"  # the central writes here, without response
TX: Final = "48120003-f71f-577c-9e12-807faa345906"  # the peripheral notifies here

CONNECT_S: Final = 9.0  # an adapter waits 10 s, and then could not say why
_CONNECT_TRIES: Final = 3
# Few, so that what is said late is said now: the protocol chooses when a packet can go, not before.
OUTBOX_MAX: Final = 8
# A window of packets and what else may come while the reader is busy; beyond it they are lost and sent again.
INBOX_MAX: Final = 128

_MTU_LEAST: Final = 20  # ATT_MTU 23 less three bytes of header (Bluetooth Core, Vol 3, Part F, 3.4.5.3)
_MTU_WAIT_S: Final = 0.5  # Windows tells the MTU some time after it says that it is connected
_FLUSH_S: Final = 1.0  # what was written before a close may take so long to leave
_DISCONNECT_S: Final = 5.0
# Of what never was connected: bleak 3.1 waits for ever if it was interrupted before its D-Bus was, either.
_ABORT_S: Final = 0.5
_STOP_S: Final = 6.0
_BUSY_S: Final = 0.005  # a busy radio is asked again after this, then after twice as long
_BUSY_STEP_MAX_S: Final = 0.1
_BUSY_MAX_S: Final = 5.0  # radios that refuse for so long are broken
_LOST: Final = "the Bluetooth connection was lost"
_STUFFING: Final = bytes(1 << 16)

# Commands in a pipeline give SIGPIPE back its default action.
_SEND_FLAGS: Final = getattr(socket, "MSG_NOSIGNAL", 0)

T = TypeVar("T")


class Found(NamedTuple):
    """A device that advertises our service: `address` (on macOS a UUID), `name`, `rssi` in dBm."""

    address: str
    name: str
    rssi: int
    device: BLEDevice


class Session:
    """One connection, as the radio's thread sees it. The other thread uses `outbox`, `inbox`, `mtu`, `state`,
    `failure`, `wake()` and `close()`.

    far: the radio's end of the pair. It sends one byte for each packet in `inbox`, and takes away what was
    stuffed into the pair so that the near end was not writable.
    """

    def __init__(self, radio: Radio, found: Found, far: socket.socket) -> None:
        far.setblocking(False)
        self.outbox: deque[bytes] = deque()
        self.inbox: deque[bytes] = deque()
        self.far = far
        self.mtu = 0
        self.ready = False
        self.failure = ""
        self.dropped = 0  # packets that came while `inbox` was full
        self._radio = radio
        self._found = found
        self._closing = False
        self._linked = False
        self._over = False  # hanging up: nothing may interrupt that
        self._former: set[asyncio.Task[None]] = set()
        self._bound: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        radio.call(self._start)

    # ---- from the other thread

    def wake(self) -> None:
        """There is something in `outbox`, or the pair was stuffed. Raises OSError after the program's end."""
        self._radio.call(self._work.set)

    def close(self) -> None:
        """Sends what is in `outbox` and disconnects, both within seconds; does not wait for it."""
        with contextlib.suppress(OSError):  # the radio has stopped, and ended all connections
            self._radio.call(self._close)

    # ---- in the radio's thread

    def _start(self) -> None:
        sessions = self._radio.sessions
        self._former = {task for task, address in sessions.items() if address == self._found.address}
        self._task = self._radio.loop.create_task(self._run())
        sessions[self._task] = self._found.address
        self._task.add_done_callback(self._ended)

    def _close(self) -> None:
        self._closing = True
        self._work.set()
        if not self.ready:
            self._interrupt()
        elif not self._over:
            self._bound = self._radio.loop.call_later(_FLUSH_S, self._interrupt)

    def _interrupt(self) -> None:
        if self._task is not None and not self._over:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._radio.sessions[task]
        error = None if task.cancelled() else task.exception()
        if not self.failure:
            self.failure = _words_for(error)
        self.far.close()  # the near end reads what is left in `inbox`, then sees the end

    async def _run(self) -> None:
        client = BleakClient(
            self._found.device, disconnected_callback=self._lost, services=[SERVICE], timeout=CONNECT_S
        )
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._await_former()
                await self._connect(client)
                self._linked = True
                await self._prepare(client)
            if not client.is_connected:  # lost in the very last moment, which `_lost` did not tell
                raise OSError(errno.ECONNRESET, _LOST)
            self.ready = True
            await self._pump(client)
        finally:
            self._over = True
            if self._bound is not None:
                self._bound.cancel()
            await self._hang_up(client)

    async def _await_former(self) -> None:
        """A device has one connection to this computer: another session would be given the same one, and lose
        it as soon as the former session hangs up.
        """
        if self._former:
            await asyncio.wait(self._former)
        self._former = set()

    async def _connect(self, client: BleakClient) -> None:
        """Several times: two computers that answer one advertisement find only one taken (error 0x3E)."""
        for left in reversed(range(_CONNECT_TRIES)):
            try:
                async with self._radio.tuning:
                    await client.connect()
                return
            except BleakDeviceNotFoundError:
                raise
            except BleakError:
                if not left:
                    raise

    async def _hang_up(self, client: BleakClient) -> None:
        with contextlib.suppress(BleakError, OSError, EOFError):  # it was gone, or the Bluetooth service is
            async with asyncio.timeout(_DISCONNECT_S if self._linked else _ABORT_S):
                await client.disconnect()

    async def _prepare(self, client: BleakClient) -> None:
        """Subscribes, and learns the MTU. Raises OSError if the device lacks our characteristics."""
        rx, tx = (client.services.get_characteristic(uuid) for uuid in (RX, TX))
        if rx is None or tx is None:
            raise OSError(errno.EPROTO, "the device has no Busway service: is its firmware an older one?")
        if sys.platform == "win32":
            await self._await_mtu(lambda: rx.max_write_without_response_size)
        # Not client.mtu_size: on BlueZ that is 23 whatever was agreed.
        self.mtu = max(_MTU_LEAST, rx.max_write_without_response_size)
        await client.start_notify(tx, self._on_packet)

    async def _await_mtu(self, size: Callable[[], int]) -> None:
        with contextlib.suppress(TimeoutError):  # it is that small
            async with asyncio.timeout(_MTU_WAIT_S):
                while size() <= _MTU_LEAST:  # noqa: ASYNC110 - nothing tells when it changes
                    await asyncio.sleep(0.01)

    def _lost(self, _client: BleakClient) -> None:
        if not self._linked or self._over:
            return  # connecting fails by itself, and knows better why; or we have hung up
        if not self._closing:
            self.failure = _LOST
        self._interrupt()

    def _on_packet(self, _sender: object, data: bytearray) -> None:
        if len(self.inbox) >= INBOX_MAX:
            self.dropped += 1  # as if the radio had lost it: the protocol repeats
            return
        self.inbox.append(bytes(data))
        try:
            self.far.send(b"\0", _SEND_FLAGS)
        except OSError:  # the pair is full or closed
            self.inbox.pop()
            self.dropped += 1

    async def _pump(self, client: BleakClient) -> None:
        while True:
            while self.outbox:
                await self._send(client, self.outbox[0])
                self.outbox.popleft()
                if len(self.outbox) == OUTBOX_MAX // 2:
                    self._unstuff()
            if self._closing:
                return
            self._work.clear()
            self._unstuff()
            if not self.outbox and not self._closing:
                await self._work.wait()

    async def _send(self, client: BleakClient, packet: bytes) -> None:
        """Writes a packet; a radio that is busy is asked again. Raises OSError, BleakError."""
        waited, step = 0.0, _BUSY_S
        while True:
            try:
                await client.write_gatt_char(RX, packet, response=False)
                return
            except (BleakError, OSError):
                if not client.is_connected or waited >= _BUSY_MAX_S:
                    raise
            await asyncio.sleep(step)
            waited += step
            step = min(2 * step, _BUSY_STEP_MAX_S)

    def _unstuff(self) -> None:
        """The near end becomes writable."""
        try:
            while self.far.recv(len(_STUFFING)):
                pass
        except OSError:
            pass  # empty, or the near end is closed


def _words_for(error: BaseException | None) -> str:
    if error is None:
        return "closed"
    if isinstance(error, TimeoutError):
        return f"no Bluetooth connection within {CONNECT_S:g} s: is the device in range, and free?"
    return f"the Bluetooth connection failed: {str(error) or type(error).__name__}"


def stuff(near: socket.socket) -> None:
    """Fills the pair so that `near` is not writable until the radio's thread takes it all away."""
    try:
        while True:
            near.send(_STUFFING, _SEND_FLAGS)
    except OSError:
        pass  # full; or the far end is closed, which makes it writable for good


class Radio:
    """The thread. Ends with the program: then every connection is closed, within seconds."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.sessions: dict[asyncio.Task[None], str] = {}  # and the addresses of their devices
        # BlueZ refuses to connect while it scans, and to scan twice at a time for one program.
        self.tuning = asyncio.Lock()
        self._pid = os.getpid()
        # A daemon, for a program that forgot a link must end too; the exit hook ends and joins it.
        self._thread = threading.Thread(target=self._run, name="busway-ble", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def call(self, function: Callable[[], object]) -> None:
        """Calls `function` soon, in the radio's thread. Raises OSError if it has ended."""
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:
            raise OSError(
                errno.ESHUTDOWN, "this program is ending, and its Bluetooth links with it"
            ) from None

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` in the radio's thread and waits for what it returns or raises."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        finally:
            future.cancel()  # does nothing to one that is done; else Ctrl-C came

    def stop(self) -> None:
        """Closes all connections and ends the thread. Nothing in a forked child, which has no such thread."""
        if self._pid != os.getpid() or self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self._finish(set(self.sessions))  # disconnects; bleak's own tasks are needed for that
        self._finish(asyncio.all_tasks(self.loop))
        self.loop.close()

    def _finish(self, tasks: set[asyncio.Task[None]]) -> None:
        left = set(tasks)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left, timeout=_DISCONNECT_S / 2))


_radio: Radio | None = None
_lock = threading.Lock()


def radio() -> Radio:
    """The process's radio, started at the first use."""
    global _radio
    with _lock:
        if _radio is None:
            _radio = Radio()
        return _radio


def _forget() -> None:
    """In a forked child: the thread is the parent's, and the lock may have been held by another one."""
    global _radio, _lock
    _radio = None
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


async def scan(
    radio: Radio, enough: Callable[[Found], bool], timeout_s: float, linger_s: float
) -> list[Found]:
    """The devices with our service that advertise now, the strongest first.

    Args: listens until one is `enough` and `linger_s` more for others, or `timeout_s`.
    Raises OSError if there is no Bluetooth or it is off.
    """
    seen: dict[str, Found] = {}
    done = asyncio.Event()

    def detected(device: BLEDevice, data: AdvertisementData) -> None:
        if SERVICE not in data.service_uuids:
            return  # found for another program
        found = Found(device.address, data.local_name or device.name or "", data.rssi, device)
        seen[found.address] = found
        if enough(found):
            done.set()

    async with radio.tuning:
        try:
            async with BleakScanner(detected, service_uuids=[SERVICE]):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await done.wait()
                        await asyncio.sleep(linger_s)
        except (BleakError, OSError, EOFError) as error:
            raise OSError(errno.ENODEV, _without_radio(error)) from error
    return sorted(seen.values(), key=lambda found: -found.rssi)


def _without_radio(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return (
        f"Bluetooth cannot be used ({text}): is there an adapter, is it switched on, and may this program use"
        " it? On Linux the bluetooth service must run: `bluetoothctl show`, then `bluetoothctl power on`"
    )
