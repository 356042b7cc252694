"""Serial links over real ptys: bytes as they are, who has the port, unplugging, and sentences that help."""

import errno
import os
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from busway.drivers import serial, serial_ports
from busway.drivers.channel import Channel
from tests.drivers import waiting
from tests.drivers.lines import Line, line

EVERY_BYTE = bytes(range(256))


@pytest.fixture
def wire() -> Iterator[Line]:
    with line() as made:
        yield made


def dialled(url: str) -> serial.SerialChannel:
    channel = serial.dial(serial.candidates(url)[0], url)
    assert isinstance(channel, serial.SerialChannel)
    return channel


def pumped(url: str) -> serial.PumpedChannel:
    """The channel of systems without descriptors for ports: it runs here, too."""
    port = serial._opened(serial.candidates(url)[0], serial_ports.parse(url))
    return serial.PumpedChannel(port, url, via="", baud=9600)


BOTH = pytest.mark.parametrize("opened", [dialled, pumped])
Opened = Callable[[str], Channel]


# ---- the channel


def test_what_the_core_is_told(wire: Line) -> None:
    with closing(dialled(f"{wire.url}?baud=9600")) as channel:
        found: Channel = channel
        assert (found.sort, found.realm, found.mtu, found.dialled) == ("packet", "localnet", 0, True)
        assert (channel.baud, channel.cost, channel.lookups) == (9600, 512, True)
        assert channel.address == wire.url
        assert channel.via == wire.url
        assert channel.connected()
        assert termios.tcgetattr(channel.fileno())[4] == termios.B9600


@pytest.mark.parametrize(
    ("baud", "cost"), [(1200, 4096), (9600, 512), (19200, 256), (57600, 128), (115200, 64), (2_000_000, 64)]
)
def test_a_slower_line_costs_more(baud: int, cost: int) -> None:
    assert serial.cost_of(baud) == cost


@BOTH
def test_every_byte_passes_both_ways_unchanged(wire: Line, opened: Opened) -> None:
    with closing(opened(wire.url)) as channel:
        assert channel.read() is None
        wire.say(EVERY_BYTE)
        assert waiting.read(channel, 256) == EVERY_BYTE
        rest = memoryview(EVERY_BYTE)
        while rest:
            waiting.writable(channel)
            rest = rest[channel.write(rest) :]
        assert wire.hear(256) == EVERY_BYTE


@BOTH
def test_a_write_is_cut_to_what_may_wait(wire: Line, opened: Opened) -> None:
    with closing(opened(f"{wire.url}?baud=9600")) as channel:
        assert channel.write(bytes(10_000)) == serial.QUEUE_SIZE
        assert channel.write(b"") == 0


def test_a_faster_line_takes_as_much_as_leaves_in_20_ms(wire: Line) -> None:
    with closing(dialled(f"{wire.url}?baud=921600")) as channel:
        assert channel.write(bytes(10_000)) == channel.write_size == 1843


@BOTH
def test_a_board_that_does_not_read_makes_it_busy_and_nothing_is_lost(wire: Line, opened: Opened) -> None:
    with closing(opened(wire.url)) as channel:
        taken = 0
        for _ in range(100_000):
            taken += (count := channel.write(bytes(10_000)))
            if not count and not select.select([], [channel.fileno()], [], 0.05)[1]:
                break
        else:
            raise AssertionError("never busy, or busy and called writable")
        assert len(wire.hear(taken)) == taken
        waiting.writable(channel)


def test_bytes_that_wait_in_the_kernel_count(wire: Line) -> None:
    """A pty says 0, so here is a line on which 200 bytes are still under way."""

    class Slow(serial.SerialChannel):
        __slots__ = ()

        def _waiting(self) -> int:
            return 200

    port = serial._opened(wire.device, serial_ports.parse(wire.url))
    with closing(Slow(port, wire.url, via="", baud=9600, rtscts=False)) as channel:
        assert channel.write(bytes(100)) == 56
        channel.write_size = 200
        assert channel.write(bytes(100)) == 0


@BOTH
def test_an_unplugged_port_is_a_failure_not_an_end(wire: Line, opened: Opened) -> None:
    with closing(opened(wire.url)) as channel:
        wire.unplug()
        waiting.readable(channel)
        with pytest.raises(OSError, match="is gone"):
            channel.read()


def test_writing_to_an_unplugged_port(wire: Line) -> None:
    with closing(dialled(wire.url)) as channel:
        wire.unplug()
        with pytest.raises(OSError, match="unplugged or switched off") as caught:
            channel.write(b"x")
        assert caught.value.errno == errno.EIO


@BOTH
def test_closing_twice_is_once_and_then_nothing_works(wire: Line, opened: Opened) -> None:
    channel = opened(wire.url)
    channel.close()
    channel.close()
    assert channel.fileno() == -1
    with pytest.raises(OSError):
        channel.read()
    with pytest.raises(OSError):
        channel.write(b"x")


def test_a_port_can_be_had_again_after_closing(wire: Line) -> None:
    dialled(wire.url).close()
    with closing(dialled(wire.url)) as channel:
        wire.say(b"again")
        assert waiting.read(channel, 5) == b"again"


def test_what_arrived_before_is_not_taken_for_this_sessions(wire: Line) -> None:
    wire.say(b"old boot noise\n")
    with closing(dialled(wire.url)) as channel:
        wire.say(b"new")
        assert waiting.read(channel, 3) == b"new"


# ---- one user at a time


def test_a_second_program_is_told_who_has_it(wire: Line) -> None:
    program = (
        "import sys, time; from busway.drivers import serial\n"
        f"channel = serial.dial({wire.device!r}); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(OSError, match=rf"{wire.device} is in use by pid {other.pid} \(") as caught:
            serial.dial(wire.device)
        assert caught.value.errno == errno.EBUSY
        other.send_signal(signal.SIGKILL)
        other.wait()
        serial.dial(wire.device).close()


def test_a_forked_child_gives_up_its_copy_alone(wire: Line) -> None:
    with closing(dialled(wire.url)) as channel:
        child = os.fork()
        if child == 0:
            channel.abandon()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(OSError, match="in use"):
            serial.dial(wire.device)
        wire.say(b"ours")
        assert waiting.read(channel, 4) == b"ours"


# ---- what cannot be opened


def test_a_port_that_is_not_there(wire: Line) -> None:
    with pytest.raises(FileNotFoundError, match=r"no serial port /dev/ttyNONE9; there are: "):
        serial.candidates("serial:///dev/ttyNONE9")
    with pytest.raises(FileNotFoundError, match=r"no serial port /dev/ttyNONE9; there are: "):
        serial.dial("/dev/ttyNONE9")


@pytest.mark.parametrize("path", ["/dev/null", "/etc", "/etc/passwd"])
def test_what_is_no_port(path: str) -> None:
    with pytest.raises(OSError, match=f"{path} is no serial port; `busway ports` lists"):
        serial.dial(path)


def test_without_pyserial_the_sentence_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['serial'] = None; from busway.drivers import serial_ports\n"
        "try: serial_ports.ports()\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "-m pip install pyserial" in printed.stdout


def test_importing_busway_does_not_import_pyserial() -> None:
    program = "import sys, busway; from busway.drivers import serial_ports; print('serial' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout == "False\n"


# A slow line


@BOTH
def test_a_slow_line_is_given_no_more_than_what_is_to_leave_next(
    wire: Line, opened: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(serial, "time", SimpleNamespace(monotonic=lambda: now))
    with closing(opened(f"{wire.url}?baud=9600")) as channel:
        assert channel.paced
        assert channel.room() == 205
        assert channel.write(bytes(137)) == 137
        assert channel.room() == 0
        assert channel.pause_s == pytest.approx((137 - 68) * 10 / 9600)
        now += channel.pause_s + 0.001
        assert channel.room() == 205 - 68
        now += 10
        assert channel.room() == 205


def test_what_the_system_counts_is_looked_at_as_well(wire: Line) -> None:
    class Slow(serial.SerialChannel):
        __slots__ = ()
        waiting = 300

        def _waiting(self) -> int:
            return self.waiting

    port = serial._opened(wire.device, serial_ports.parse(wire.url))
    with closing(Slow(port, wire.url, via="", baud=9600, rtscts=False)) as channel:
        assert channel.room() == 0
        assert channel.pause_s == pytest.approx((300 - 68) * 10 / 9600)
        channel.waiting = 69
        assert channel.room() == 0
        assert channel.pause_s == pytest.approx(0.002)
        channel.waiting = 60
        assert channel.room() == 145


def test_a_faster_one_is_not_paced(wire: Line) -> None:
    with closing(dialled(f"{wire.url}?baud=57600")) as channel:
        assert not channel.paced
