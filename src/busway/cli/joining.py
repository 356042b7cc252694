"""`busway connect` and `busway listen-on`: join the local bus to others for as long as they run.

Both are `busway bridge` with one job each: a program that forwards between the programs here and the far end.
"""

from __future__ import annotations

import click

from busway.cli.bridge import run_bridge
from busway.cli.options import Accept, Examples, Place, joins, json_option, links_realm, listens, wait_option

_CONNECT_EXAMPLES = """\
Examples:
  busway connect 192.168.1.20:7000 --token "$TOKEN"
  busway connect ws://lab.example/bus
  busway connect wss://lab.example --cafile ca.pem
  busway connect serial:///dev/ttyUSB0?baud=115200
  busway connect 192.168.1.20:7000 --wait 30     gives up if nobody is there within 30 s

Until it is interrupted, this user's programs on this machine and the nodes behind URL are one bus, as far as
the link's realm lets pass: over ws:// and wss:// only what is registered with realm="global", unless both
sides have --realm localnet. The link heals: `busway links --watch` shows its state. With --json one document
a line."""

_LISTEN_EXAMPLES = """\
Examples:
  busway listen-on tcp://127.0.0.1:0              prints the real URL first
  busway listen-on tcp://0.0.0.0:7000 --token "$TOKEN"
  busway listen-on ws://127.0.0.1:8765
  busway listen-on wss://0.0.0.0:8765 --certificate chain.pem --key key.pem --token "$TOKEN"

Until it is interrupted, others who connect there are on one bus with this user's programs on this machine, as
far as the link's realm lets pass: over ws:// and wss:// only what is registered with realm="global", unless
both sides have --realm localnet. Beyond loopback it wants --token, or --open to let in everybody. With --json
one document a line."""


@click.command(cls=Examples, epilog=_CONNECT_EXAMPLES)
@click.argument("target", metavar="URL")
@wait_option
@json_option("JSON lines.")
@joins
@links_realm
def connect(place: Place, target: str, wait: float | None, as_json: bool) -> int:
    """Join the local bus to the node at URL."""
    return run_bridge(place, "connect", (target, *place.urls), (), None, None, as_json, wait)


@click.command("listen-on", cls=Examples, epilog=_LISTEN_EXAMPLES)
@click.argument("target", metavar="URL")
@listens
@json_option("JSON lines.")
@joins
@links_realm
def listen_on(place: Place, target: str, accept: Accept, as_json: bool) -> int:
    """Let nodes elsewhere join the local bus at URL."""
    return run_bridge(place, "listen-on", place.urls, (target,), accept, None, as_json)
