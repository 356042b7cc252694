"""URLs of serial ports, and which port they mean among those there are."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from serial.tools.list_ports import comports

from busway.drivers import serial_ports
from busway.drivers.serial_ports import Port, Wanted, choose, parse
from tests.drivers.lines import line

PICO = Port("/dev/ttyACM0", 0x2E8A, 0x0005, "E6614C311B", "Board in FS mode")
PICO_2 = Port("/dev/ttyACM1", 0x2E8A, 0x0005, "E6614C311C", "Board in FS mode")
ESP = Port("/dev/ttyUSB0", 0x1A86, 0x7523, "", "USB Serial")
BUILT_IN = Port("/dev/ttyAMA0")
ALL = (PICO, PICO_2, ESP, BUILT_IN)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("serial:///dev/ttyUSB0", Wanted("/dev/ttyUSB0")),
        ("serial:///dev/ttyUSB0?baud=9600", Wanted("/dev/ttyUSB0", baud=9600)),
        ("serial://COM3?baud=57600", Wanted("COM3", baud=57600)),
        ("serial://?vid=2e8a&pid=0005", Wanted(vid=0x2E8A, pid=5)),
        ("serial://?vid=0x2E8A", Wanted(vid=0x2E8A)),
        ("serial:///?serial=E6614C311B", Wanted(serial_number="E6614C311B")),
        ("serial:///dev/ttyS1?rtscts=1&dtr=0&rts=0", Wanted("/dev/ttyS1", rtscts=True, dtr=False, rts=False)),
    ],
)
def test_urls(url: str, expected: Wanted) -> None:
    assert parse(url) == expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "expected serial:///dev"),
        ("serial:", "expected serial:///dev"),
        ("serial:/dev/ttyUSB0", "expected serial:///dev"),
        ("tcp://127.0.0.1:1", "expected serial:///dev"),
        ("serial://", "give a port, or vid="),
        ("serial:///", "give a port, or vid="),
        ("serial://?baud=9600", "give a port, or vid="),
        ("serial:///dev/ttyUSB0?vid=2e8a", "give a port, or vid="),
        ("serial:///dev/ttyUSB0#x", "expected serial:///dev"),
        ("serial:///dev/ttyUSB0?baud", "expected serial:///dev"),
        ("serial:///dev/ttyUSB0?speed=9600", "no option 'speed'"),
        ("serial:///dev/ttyUSB0?baud=9600&baud=1", "stands there twice"),
        ("serial:///dev/ttyUSB0?baud=", "baud= is a rate from 50"),
        ("serial:///dev/ttyUSB0?baud=49", "baud= is a rate from 50"),
        ("serial:///dev/ttyUSB0?baud=20000001", "baud= is a rate from 50"),
        ("serial:///dev/ttyUSB0?baud=9600.0", "baud= is a rate from 50"),
        ("serial:///dev/ttyUSB0?rtscts=yes", "rtscts= is 0 or 1"),
        ("serial://?vid=", "vid= is up to four hexadecimal digits"),
        ("serial://?vid=12345", "vid= is up to four hexadecimal digits"),
        ("serial://?vid=2e8a&pid=xy", "pid= is up to four hexadecimal digits"),
        ("serial://?serial=", "serial= needs the board's serial number"),
    ],
)
def test_wrong_urls_are_refused_with_what_was_expected(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse(url)


@pytest.mark.parametrize(
    ("query", "device"),
    [
        ("vid=1a86", "/dev/ttyUSB0"),
        ("pid=7523", "/dev/ttyUSB0"),
        ("vid=2e8a&serial=E6614C311C", "/dev/ttyACM1"),
        ("serial=e6614c311b", "/dev/ttyACM0"),
    ],
)
def test_the_one_that_matches(query: str, device: str) -> None:
    assert choose(parse(f"serial://?{query}"), ALL) == device


def test_several_that_match_are_listed() -> None:
    with pytest.raises(OSError, match="2 ports match") as caught:
        choose(parse("serial://?vid=2e8a&pid=0005"), ALL)
    assert caught.value.errno == errno.EINVAL
    for word in (str(PICO), str(PICO_2), "serial="):
        assert word in str(caught.value)


def test_none_that_matches_lists_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match="no serial port matches 2e8a:0009; there are") as caught:
        choose(parse("serial://?vid=2e8a&pid=0009"), ALL)
    for port in ALL:
        assert str(port) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="is the cable one that carries data"):
        choose(parse("serial://?serial=X"), [])


def test_the_name_of_a_link_is_the_boards_not_the_ports() -> None:
    assert parse("serial://?vid=2E8A&pid=5&baud=9600").via == parse("serial://?pid=0005&vid=2e8a").via
    assert parse("serial:///dev/ttyS0?baud=9600").via == parse("serial:///dev/ttyS0").via
    vias = {parse(f"serial://?{query}").via for query in ("vid=1", "pid=1", "serial=1", "vid=1&pid=1")}
    assert len(vias) == 4


def test_long_names_of_two_ports_stay_two() -> None:
    """Two links of one board: cut names would be one address, and the second link would end the first."""
    board = "/dev/serial/by-id/usb-Some_Maker_A_Board_With_Two_Ports_E6614C311B523C2D"
    vias = [parse(f"serial://{board}-if0{number}").via for number in (0, 2)]
    assert vias[0] != vias[1]
    assert all(len(via.encode()) <= 64 for via in vias)
    assert len(parse("serial://?serial=" + "\u00fc" * 60).via.encode()) <= 64


def test_the_list_is_the_systems() -> None:
    assert [port.device for port in serial_ports.ports()] == sorted(found.device for found in comports())


def test_nobody_holds_a_free_port_and_a_stranger_is_found() -> None:
    with line() as wire:
        assert serial_ports.holder("/dev/ttyNONE9") == ""
        program = f"f = open({wire.device!r}); print('open', flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"open\n"
            assert serial_ports.holder(wire.device).startswith(f"pid {other.pid} (")
            assert other.stdin is not None
            other.stdin.close()
            other.wait()
        assert serial_ports.holder(wire.device) == ""


def test_what_one_may_open_has_no_obstacle(tmp_path: Path) -> None:
    place = tmp_path / "port"
    place.touch()
    assert serial_ports.obstacle(str(place)) == ""
    assert serial_ports.obstacle(str(tmp_path / "none")) == ""


@pytest.mark.parametrize(
    ("mode", "group", "members", "told"),
    [
        (0o20660, "dialout", (), "you are not in group dialout: sudo usermod -aG dialout ann, then log in"),
        (0o20660, "uucp", ("ann",), "you are in group uucp from your next login on"),
        (0o20660, "root", (), "udev rule give /dev/ttyX to a group"),
        (0o20600, "dialout", (), "udev rule give /dev/ttyX to a group"),
        (0o20660, "", (), "udev rule give /dev/ttyX to a group"),
    ],
)
def test_whoever_may_not_is_told_what_to_do(
    mode: int, group: str, members: tuple[str, ...], told: str
) -> None:
    assert told in serial_ports.advice("/dev/ttyX", mode, group, members, "ann")
