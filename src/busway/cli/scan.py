"""`busway scan`: the boards that offer Busway over Bluetooth LE. Joins no bus, connects to none of them."""

from __future__ import annotations

import click

from busway.cli import failures, output
from busway.cli.failures import Failure
from busway.cli.options import Examples, json_option, timeout_option
from busway.drivers.extras import missing


@click.command(cls=Examples)
@timeout_option(5.0, "How long to listen, in seconds.")
@json_option("One JSON document: a list of boards, the strongest signal first.")
def scan(timeout: float, as_json: bool) -> int:
    """Examples:
      busway scan
      busway bridge ble://Pump                   one of them
      busway scan --timeout 20                   for those that speak up seldom
      busway scan --json | jq -r '.[].address'

    It listens for as long as --timeout says, for Bluetooth has no list of what is there. A board that is
    connected to something is silent. Exit status 1 if none was heard.
    """
    try:
        from busway.drivers import ble
    except ModuleNotFoundError:
        raise Failure(failures.MISSING, missing("Bluetooth needs", "ble")) from None
    try:
        found = ble.devices(timeout)
    except OSError as error:
        raise Failure(failures.NEGATIVE, error.strerror or str(error), "NO_BLUETOOTH") from None
    documents = [{"name": each.name, "address": each.address, "rssi": each.rssi} for each in found]
    rows = [(each.name or "-", each.address, f"{each.rssi} dBm") for each in found]
    nothing = f"no board with Busway's service was heard within {timeout:g} s: is it on, and in range?"
    output.listing(documents, as_json, nothing, ("NAME", "ADDRESS", ">RSSI"), rows)
    return failures.OK if found else failures.NEGATIVE
