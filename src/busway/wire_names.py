"""Names of the numbers on the wire, as docs/protocol.md gives them. Knows no layouts, and imports nothing.

Written from that page, apart from the tables of the core, which the tests compare with these.
"""

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

CONTROL_NAMES = {1: "HELLO", 2: "AUTH", 3: "CLOSE", 4: "PING", 5: "PONG", 6: "DIRECTORY", 7: "MORE"} | {
    8: "ROUTES",
    9: "SYNC",
    0x41: "SLEEP",
}
KIND_NAMES = {
    0: "SEND",
    1: "PUBLISH",
    2: "CONFIRM",
    3: "REQUEST",
    4: "REPLY",
    5: "PART",
    6: "ERROR",
    7: "SIGNAL",
}
SIGNAL_NAMES = {1: "CANCEL", 2: "CREDIT", 3: "PROBE", 4: "PART_CREDIT", 5: "UNDELIVERABLE", 6: "END"} | {
    7: "WHO",
    8: "HAVE",
    9: "PRUNE",
    10: "GRAFT",
    11: "TRACE",
    12: "TRACED",
}
ROUTE_NAMES = {
    0: "RETRACT",
    1: "UPDATE",
    2: "PARENT",
    3: "PARENT with versions",
    4: "SEQREQ",
    5: "SEQREQ to everyone",
    6: "ACK",
}
SYNC_NAMES = {
    1: "all routes are told",
    2: "all parents are told",
    3: "all lines are told",
    4: "passes nothing on",
    5: "passes on",
}
OPTION_NAMES = {1: "CUT", 2: "STREAM", 3: "BEST_EFFORT"}
REALM_NAMES = {1: "USERSPACE", 2: "LOCALNET", 3: "GLOBAL"}
ENDPOINT_KIND_NAMES = {0: "withdrawn", 1: "unicast", 2: "anycast", 3: "broadcast"}
FORMAT_NAMES = {0: "bytes", 1: "CBOR", 2: "CBOR of the endpoint's type", 3: "CBOR of the type named"}
ERROR_NAMES = {
    0: "GOODBYE",
    1: "NOT_BUSWAY",
    2: "VERSION",
    3: "BUS_NAME",
    4: "SELF",
    5: "DUPLICATE_LINK",
    7: "TOKEN",
    8: "LIMITS",
    9: "MALFORMED",
    10: "TOO_LARGE",
    11: "UNKNOWN_ALIAS",
    12: "UNKNOWN_FRAME",
    13: "STATE",
    14: "TOO_MANY",
    15: "SILENT",
    16: "HELLO_TIMEOUT",
    17: "NOT_READING",
    18: "MESH_FULL",
    19: "REPLACED",
    20: "LOST",
    21: "RESTARTED",
}
REASON_NAMES = {
    1: "NO_ENDPOINT",
    2: "QUEUE_FULL",
    3: "EXPIRED",
    4: "NO_ROUTE",
    5: "RECEIVER_CLOSED",
    6: "TOO_LARGE",
    7: "WRONG_KIND",
    8: "DROPPED",
    9: "UNREADABLE",
    10: "NOT_A_STREAM",
    11: "PART_LOST",
    12: "BUS_CLOSED",
    13: "LOST_AFTER_SENDING",
    14: "OVERTAKEN",
    64: "HANDLER_FAILED",
}
