"""Bluetooth LE links with bleak's own BlueZ backend over a virtual radio: finding, packets, ends."""

import asyncio
import errno
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from busway.drivers import Channel, ble, ble_radio
from tests.drivers import waiting
from tests.rigs.ble import radio as rig
from tests.rigs.ble.radio import VirtualRadio
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

FORGETFUL = """\
import select, sys, threading
from busway.drivers import ble
channel = ble.dial(ble.candidates("ble://Board")[0])
while not channel.connected():
    select.select([], [channel.fileno()], [], 20)
assert channel.write(b"hello") == 5
print(channel.mtu, [thread.daemon for thread in threading.enumerate() if thread.name == "busway-ble"])
"""
LOOK = """\
from busway.drivers import ble
try:
    print(ble.candidates("ble://"))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def radio() -> Iterator[VirtualRadio]:
    """One air with an adapter and two boards: one that agreed on a large MTU, one with the least."""
    with pytest.MonkeyPatch.context() as patch, VirtualRadio(peripherals=2) as found:
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", found.buses[0])
        found.peripheral("Board", place=0)
        found.peripheral("Small", place=1, att_mtu=23)
        yield found


def dialled(url: str = "ble://Board") -> ble.BleChannel:
    """Scans, dials the first candidate and waits for its outcome."""
    channel = ble.dial(ble.candidates(url)[0], url)
    try:
        while not channel.connected():
            waiting.writable(channel)
    except BaseException:
        channel.close()
        raise
    return channel


@pytest.fixture
def channel(radio: VirtualRadio) -> Iterator[ble.BleChannel]:
    with closing(dialled()) as found:
        yield found


def packet(channel: Channel) -> bytes:
    waiting.readable(channel)
    found = channel.read()
    assert found is not None
    return found


def written(channel: Channel, data: bytes) -> None:
    while not channel.write(data):
        waiting.writable(channel)


def is_writable(channel: Channel) -> bool:
    return bool(select.select([], [channel.fileno()], [], 0)[1])


# ---- URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ble://", ("", "")),
        ("ble://Pump", ("", "Pump")),
        ("ble://Pump%201/", ("", "Pump 1")),
        ("ble://%2F%C3%A4", ("", "/ä")),
        ("ble://aa:bb:cc:dd:ee:ff", ("AA:BB:CC:DD:EE:FF", "")),
        ("ble://AA:BB:CC:DD:EE", ("", "AA:BB:CC:DD:EE")),
        ("ble://6e400001-b5a3-f393-e0a9-e50e24dcca9e", ("6E400001-B5A3-F393-E0A9-E50E24DCCA9E", "")),
        ("ble://" + "n" * 248, ("", "n" * 248)),
    ],
)
def test_urls(url: str, expected: tuple[str, str]) -> None:
    assert ble.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "Pump",
        "ble:Pump",
        "tcp://Pump",
        "ble://a/b",
        "ble://a?b=c",
        "ble://a#b",
        "ble://%ff",
        "ble://" + "ä" * 125,
    ],
)
def test_wrong_urls_are_refused_with_what_was_expected(url: str) -> None:
    with pytest.raises(ValueError, match="expected ble://NAME, ble://AA:BB:CC:DD:EE:FF or ble:// for any"):
        ble.candidates(url)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_scan_has_an_end(timeout: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        ble.devices(timeout)


# ---- finding


def test_found_by_name_by_address_and_as_any(radio: VirtualRadio) -> None:
    (board,) = ble.candidates("ble://Board")
    assert (board.name, board.rssi) == ("Board", -50)
    assert [found.address for found in ble.candidates(f"ble://{board.address.lower()}")] == [board.address]
    assert {found.name for found in ble.candidates("ble://")} == {"Board", "Small"}
    assert {found.name for found in ble.devices(3)} == {"Board", "Small"}


def test_two_scans_at_once_take_turns(radio: VirtualRadio) -> None:
    found: list[str] = []
    scans = [
        threading.Thread(target=lambda: found.append(ble.candidates("ble://Small")[0].name)) for _ in "12"
    ]
    for each in scans:
        each.start()
    for each in scans:
        each.join(60)
    assert found == ["Small", "Small"]


def test_nobody_of_that_name(radio: VirtualRadio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ble, "_SCAN_S", 3)
    with pytest.raises(
        OSError, match=r"no device 'Pump' with Busway's service was heard within 3 s"
    ) as caught:
        ble.candidates("ble://Pump")
    assert caught.value.errno == errno.EHOSTUNREACH
    assert "'Board' (F0:F1:F2:F3:F4:" in str(caught.value)


def run(program: str, **environment: str) -> str:
    inherited = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}"}
    return output_of([sys.executable, "-c", program], cwd=ROOT, env={**inherited, **environment})


def test_without_bluetooth_it_says_what_to_do() -> None:
    said = run(LOOK, DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nonexistent")
    assert said.startswith("OSError")
    assert "bluetoothctl power on" in said


def test_bleak_is_imported_only_when_used() -> None:
    assert run("import busway.drivers, busway.cli.app, sys; print('bleak' in sys.modules)") == "False\n"


def command(*words: str, **environment: str) -> tuple[int, str]:
    """Runs `busway` with its output in one."""
    run = subprocess.run(
        [sys.executable, "-m", "busway", *words],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return run.returncode, run.stdout


def test_busway_scan(radio: VirtualRadio) -> None:
    status, said = command("scan", "--timeout", "3", "--json")
    assert status == 0
    assert {(row["name"], row["rssi"]) for row in json.loads(said)} == {("Board", -50), ("Small", -50)}
    status, said = command("scan", "--timeout", "3")
    assert status == 0
    assert "NAME" in said
    assert "-50 dBm" in said


def test_busway_scan_without_bluetooth_or_bleak(tmp_path: Path) -> None:
    status, said = command("scan", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nonexistent")
    assert (status, "bluetoothctl power on" in said) == (1, True)
    (tmp_path / "bleak.py").write_text("raise ModuleNotFoundError('no bleak', name='bleak')")
    status, said = command("scan", PYTHONPATH=f"{tmp_path}:{ROOT / 'src'}")
    assert (status, "-m pip install bleak" in said) == (5, True)


# ---- packets


def test_mtu_is_what_was_agreed(channel: ble.BleChannel) -> None:
    assert channel.mtu == 244
    with closing(dialled("ble://Small")) as small:
        assert small.mtu == 20
    assert (channel.sort, channel.realm, channel.dialled) == ("packet", "localnet", True)
    assert (
        channel.address
        == channel.via
        == f"ble://{ble.candidates('ble://Small')[0].address[:-2]}{channel.via[-2:]}"
    )


def test_packets_stay_whole_and_in_order(channel: ble.BleChannel) -> None:
    sent = [bytes([number]) * (1 + number % channel.mtu) for number in range(256)]
    came: list[bytes] = []
    for data in sent:
        written(channel, data)
        while (found := channel.read()) is not None:
            came.append(found)
    while len(came) < len(sent):
        came.append(packet(channel))
    assert came == sent
    assert channel.dropped == 0


def test_largest_packet_and_one_byte_more(channel: ble.BleChannel) -> None:
    written(channel, bytes(244))
    assert packet(channel) == bytes(244)
    with pytest.raises(ValueError, match="at most 244 bytes"):
        channel.write(bytes(245))


def test_a_busy_radio_is_backpressure(radio: VirtualRadio, channel: ble.BleChannel) -> None:
    radio.tell("busy 8")  # for 5 + 10 + 20 + 40 + 80 + 3 * 100 ms
    sent = 0
    while channel.write(b"%d" % sent):
        sent += 1
    assert sent == ble_radio.OUTBOX_MAX
    assert not is_writable(channel)
    waiting.writable(channel)
    written(channel, b"%d" % sent)
    assert [packet(channel) for _ in range(sent + 1)] == [b"%d" % number for number in range(sent + 1)]


def test_writable_again_whenever_it_was_full(channel: ble.BleChannel) -> None:
    """The race of filling up against the radio that sends: neither may leave the other waiting."""
    sent = came = 0
    while sent < 100 * ble_radio.OUTBOX_MAX:
        if channel.write(b"x"):
            sent += 1
        else:
            waiting.writable(channel)
        while channel.read() is not None:
            came += 1
    while came + channel.dropped < sent:  # echoes may come in bursts
        packet(channel)
        came += 1
    assert came > ble_radio.OUTBOX_MAX


def test_a_slow_reader_loses_packets_and_costs_no_memory(channel: ble.BleChannel) -> None:
    written(channel, b"flood 500")
    waiting.until(lambda: channel.dropped == 500 - ble_radio.INBOX_MAX, "the flood's end")
    kept = [packet(channel) for _ in range(ble_radio.INBOX_MAX)]
    assert kept == [b"%d" % number for number in range(ble_radio.INBOX_MAX)]
    assert channel.read() is None
    written(channel, b"again")
    assert packet(channel) == b"again"


# ---- ends


def lost(channel: Channel) -> OSError:
    """Reads until the channel fails."""
    while True:
        waiting.readable(channel)
        try:
            channel.read()
        except OSError as error:
            return error


def test_a_lost_connection_is_a_failure_and_can_be_dialled_again(
    radio: VirtualRadio, channel: ble.BleChannel
) -> None:
    written(channel, b"last words")
    assert packet(channel) == b"last words"
    radio.tell("drop")
    error = lost(channel)
    assert error.errno == errno.ECONNRESET
    assert str(error).endswith(f"{channel.address}: the Bluetooth connection was lost")
    with pytest.raises(OSError, match="was lost"):
        channel.write(b"x")
    with closing(dialled()) as again:
        written(again, b"hello")
        assert packet(again) == b"hello"


def test_dialled_again_before_the_former_connection_has_ended(radio: VirtualRadio) -> None:
    """The computer has one connection to a device: the later channel waits for its own."""
    former = dialled()
    with closing(ble.dial(ble.candidates("ble://Board")[0])) as channel:
        written(former, b"still here")
        assert packet(former) == b"still here"
        assert not channel.connected()
        former.close()
        while not channel.connected():
            waiting.writable(channel)
        assert former._session.failure
        written(channel, b"hello")
        assert packet(channel) == b"hello"


def test_lost_while_subscribing_is_told_at_once(monkeypatch: pytest.MonkeyPatch, radio: VirtualRadio) -> None:
    subscribing = threading.Event()

    async def hang(*_: object) -> None:
        subscribing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(ble_radio.Session, "_prepare", hang)
    monkeypatch.setattr(ble_radio, "CONNECT_S", 600)  # with that it would be told, too
    channel = ble.dial(ble.candidates("ble://Board")[0])
    assert subscribing.wait(60)
    radio.tell("drop")
    waiting.writable(channel)
    with pytest.raises(OSError, match="was lost"):
        channel.connected()
    channel.close()


def test_what_came_before_the_loss_is_read_first(radio: VirtualRadio, channel: ble.BleChannel) -> None:
    written(channel, b"flood 3")
    waiting.until(lambda: len(channel._session.inbox) == 3, "three packets")
    radio.tell("drop")
    assert [packet(channel) for _ in range(3)] == [b"0", b"1", b"2"]
    assert lost(channel).errno == errno.ECONNRESET


def test_out_of_reach_says_nothing(radio: VirtualRadio, channel: ble.BleChannel) -> None:
    """The virtual radio has no supervision timeout: the protocol's keepalive must find such an end."""
    radio.tell("loss 1")
    written(channel, b"anyone?")
    assert not select.select([channel.fileno()], [], [], 0.2)[0]
    radio.tell("loss 0")
    written(channel, b"here again")
    assert packet(channel) == b"here again"


def test_close_sends_what_was_written_and_ends(radio: VirtualRadio) -> None:
    channel = dialled()
    written(channel, b"x")
    channel.close()
    channel.close()
    assert channel.fileno() == -1
    with pytest.raises(OSError, match="the channel is closed"):
        channel.write(b"x")
    waiting.until(lambda: bool(channel._session.failure), "the disconnection")
    assert not channel._session.outbox
    dialled().close()


def test_close_while_connecting(radio: VirtualRadio) -> None:
    channel = ble.dial(ble.candidates("ble://Board")[0])
    assert not channel.connected()
    assert not is_writable(channel)
    channel.close()
    waiting.until(lambda: bool(channel._session.failure), "the end of connecting")
    dialled().close()


def test_a_board_that_was_switched_off_after_the_scan(
    monkeypatch: pytest.MonkeyPatch, radio: VirtualRadio
) -> None:
    (found,) = ble.candidates("ble://Small")
    monkeypatch.setattr(ble_radio, "CONNECT_S", 0.3)
    radio.tell("mute")
    try:
        channel = ble.dial(found)
        waiting.writable(channel)
        with pytest.raises(OSError, match=r"no Bluetooth connection within 0\.3 s") as caught:
            channel.connected()
        assert caught.value.errno == errno.EHOSTUNREACH
        channel.close()
    finally:
        radio.tell("unmute")


# ---- processes


def test_a_program_that_forgets_its_link_ends_and_hangs_up(radio: VirtualRadio) -> None:
    assert run(FORGETFUL, **radio.environment()) == "244 [True]\n"
    dialled().close()


def in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_leaves_the_link_alone(channel: ble.BleChannel) -> None:
    assert in_child(channel.abandon) == 0
    written(channel, b"still here")
    assert packet(channel) == b"still here"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_radio_of_its_own(radio: VirtualRadio, channel: ble.BleChannel) -> None:
    def look() -> None:
        assert [found.name for found in ble.candidates("ble://Small")] == ["Small"]

    assert in_child(look) == 0


# ---- the rig itself

KILLED = """
import os, signal
from tests.rigs.ble import radio
air = radio.VirtualRadio()
air.peripheral("Board", module="tests.rigs.ble.board")
found = [os.getpid()]
for pid in found:
    found += map(int, open(f"/proc/{pid}/task/{pid}/children").read().split())
print(*found[1:], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def lives(pid: int) -> bool:
    """Not as a zombie, which waits for whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_rig_whose_program_is_killed_leaves_no_process() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    words = [sys.executable, "-c", KILLED]
    run = subprocess.run(words, env=environment, cwd=ROOT, stdout=subprocess.PIPE, timeout=120, check=False)
    pids = [int(word) for word in run.stdout.split()]
    assert len(pids) >= 4, "the keeper of a dbus-daemon, that, the air and a board"
    waiting.until(lambda: not any(map(lives, pids)), "the end of its programs")


def test_a_rig_that_does_not_come_up_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[rig.Program] = []

    class Broken(rig.Program):
        def __init__(self, *words: str | Path, env: dict[str, str] | None = None) -> None:
            broken = ("no.such" if word == "tests.rigs.ble.bluez" else word for word in words)
            super().__init__(*broken, env=env)
            started.append(self)

    monkeypatch.setattr(rig, "Program", Broken)
    with pytest.raises(AssertionError, match="ended instead of saying something"):
        VirtualRadio()
    assert len(started) == 2
    assert not any(lives(program.process.pid) for program in started)
