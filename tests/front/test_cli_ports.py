"""`busway ports`: each port with its state, for people and scripts."""

import os

from serial.tools.list_ports import comports

from busway.cli.ports import document, state
from busway.drivers import serial
from busway.drivers.serial_ports import Port
from tests.drivers.lines import line
from tests.front.cli_rig import busway


def test_all_ports_of_this_machine_as_json() -> None:
    found = busway("ports", "--json").ok().document
    assert [port["device"] for port in found] == sorted(port.device for port in comports())
    assert all(port["state"] in ("free", "busy", "forbidden") for port in found)


def test_all_ports_of_this_machine_as_a_table() -> None:
    ended = busway("ports")
    assert ended.status == 0
    assert all(port.device in ended.text for port in comports())
    assert ("DEVICE" in ended.text) is bool(comports())
    assert ("no serial port" in ended.stderr) is not bool(comports())


def test_a_port_is_busy_while_somebody_has_it() -> None:
    with line() as wire:
        os.close(wire._kept)  # this program has no other copy open
        wire._kept = -1
        port = Port(wire.device, 0x2E8A, 5, "E66")
        assert document(port) == {
            "device": wire.device,
            "usb_id": "2e8a:0005",
            "serial_number": "E66",
            "description": "",
            "state": "free",
            "text": "free",
        }
        channel = serial.dial(wire.device)
        child = os.fork()
        if child == 0:
            os._exit(0 if state(port)[0] == "busy" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        channel.close()
        assert state(port) == ("free", "free")
