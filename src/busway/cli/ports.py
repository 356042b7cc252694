"""`busway ports`: this machine's serial ports, and whether they can be had. Joins no bus, opens no port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from busway.cli import failures, output
from busway.cli.failures import Failure
from busway.cli.options import Examples, json_option

if TYPE_CHECKING:
    from busway.drivers.serial_ports import Port


@click.command(cls=Examples)
@json_option("One JSON document: a list of ports.")
def ports(as_json: bool) -> int:
    """Examples:
      busway ports
      busway bridge serial:///dev/ttyUSB0?baud=115200     one of them
      busway bridge 'serial://?vid=2e8a&pid=0005'         by USB id, under whatever name it comes
      busway bridge 'serial://?serial=E6614C311B'         by the board's serial number
      busway ports --json | jq -r '.[] | select(.state == "free") | .device'

    No port is opened, for that would reset many boards.
    """
    from busway.drivers import serial_ports

    try:
        found = serial_ports.ports()
    except ModuleNotFoundError as error:
        raise Failure(failures.MISSING, str(error)) from None
    documents = [document(port) for port in found]
    rows = [
        (
            each["device"],
            each["usb_id"] or "-",
            each["serial_number"] or "-",
            each["text"],
            each["description"],
        )
        for each in documents
    ]
    nothing = "there is no serial port; if a board is plugged in, is the cable one that carries data?"
    output.listing(
        documents, as_json, nothing, ("DEVICE", "USB ID", "SERIAL NUMBER", "STATE", "DESCRIPTION"), rows
    )
    return failures.OK


def document(port: Port) -> dict[str, object]:
    """A port for scripts; null for what it has not."""
    word, text = state(port)
    return {
        "device": port.device,
        "usb_id": port.usb_id or None,
        "serial_number": port.serial_number or None,
        "description": port.description,
        "state": word,
        "text": text,
    }


def state(port: Port) -> tuple[str, str]:
    """In a word, "free", "busy" or "forbidden", and in words: by whom, or what to do."""
    from busway.drivers import serial_ports

    if who := serial_ports.holder(port.device):
        return "busy", f"in use by {who}"
    if why := serial_ports.obstacle(port.device):
        return "forbidden", why
    return "free", "free"
