"""Names of the numbers on the wire: the core's, and words for what has none there. Knows no layouts."""

from busway.protocol.wire import codes, things
from busway.protocol.wire.codes import LINK_ERROR_NAMES as ERROR_NAMES
from busway.protocol.wire.codes import REASON_NAMES

__all__ = [
    "CONTROL_NAMES",
    "ENDPOINT_KIND_NAMES",
    "ERROR_NAMES",
    "FORMAT_NAMES",
    "KIND_NAMES",
    "OPTION_NAMES",
    "REALM_NAMES",
    "REASON_NAMES",
    "ROUTE_NAMES",
    "SIGNAL_NAMES",
    "SYNC_NAMES",
]


def _named(*names: str) -> dict[int, str]:
    return {getattr(codes, name): name for name in names}


CONTROL_NAMES = _named(
    "HELLO", "HANDSHAKE", "CLOSE", "PING", "PONG", "DIRECTORY", "MORE", "ROUTES", "SYNC", "RUN", "SLEEP"
)
KIND_NAMES = _named("SEND", "PUBLISH", "CONFIRM", "REQUEST", "REPLY", "PART", "ERROR", "SIGNAL")
SIGNAL_NAMES = _named(
    "CANCEL", "CREDIT", "PROBE", "PART_CREDIT", "UNDELIVERABLE", "END", "WHO", "HAVE"
) | _named("PRUNE", "GRAFT", "TRACE", "TRACED", "SELECT", "SELECTED", "HAVE_PART")
ROUTE_NAMES = {
    0: "RETRACT",
    1: "UPDATE",
    2: "PARENT",
    3: "PARENT with versions",
    4: "SEQREQ",
    5: "SEQREQ to everyone",
    6: "ACK",
    7: "DEPARTED",
}
SYNC_NAMES = {
    1: "all routes are told",
    2: "all parents are told",
    3: "all lines are told",
    4: "passes nothing on",
    5: "passes on",
}
OPTION_NAMES = {1: "CUT", 2: "STREAM", 3: "BEST_EFFORT", 4: "REACH", 5: "LANE", 6: "NAME", 7: "RETAIN"} | {
    things.OPTION_THINGS: "THINGS",
    things.OPTION_SHARED: "SHARED",
}
REALM_NAMES = {1: "USERSPACE", 2: "LOCALNET", 3: "GLOBAL"}
ENDPOINT_KIND_NAMES = {0: "withdrawn", 1: "unicast", 2: "anycast", 3: "broadcast"}
FORMAT_NAMES = {0: "bytes", 1: "CBOR", 2: "CBOR of the endpoint's type", 3: "CBOR of the type named"}
