"""Numbers of the wire format and the named limits. Knows nothing but them; docs/protocol.md is the authority."""

try:
    from micropython import const
except ImportError:

    def const(x: int) -> int:
        return x


VERSION = const(1)
MAGIC = b"BSWY"
AUTH_CONTEXT = b"busway-auth-1"

# Realms, narrow to wide.
PROCESS = const(0)
USERSPACE = const(1)
LOCALNET = const(2)
GLOBAL = const(3)
REALM_NAMES = ("process", "userspace", "localnet", "global")

# Kinds of endpoint.
UNICAST = const(1)
ANYCAST = const(2)
BROADCAST = const(3)
KIND_NAMES = ("", "unicast", "anycast", "broadcast")

# Sorts of link.
STREAM = const(0)

# Control frames.
HELLO = const(0x01)
AUTH = const(0x02)
CLOSE = const(0x03)
PING = const(0x04)
PONG = const(0x05)
DIRECTORY = const(0x06)
MORE = const(0x07)
IGNORABLE = const(0x40)

# Message frames: the head's bits and the kinds in bits 6-4.
MESSAGE = const(0x80)
HEAD_RESERVED = const(0x08)
HEAD_OPTIONS = const(0x04)
SEND = const(0)
PUBLISH = const(1)
CONFIRM = const(2)
REQUEST = const(3)
REPLY = const(4)
PART = const(5)
ERROR = const(6)
SIGNAL = const(7)

OPTION_CUT = const(1)
OPTION_STREAM = const(2)

CANCEL = const(1)
CREDIT = const(2)
PROBE = const(3)
PART_CREDIT = const(4)
UNDELIVERABLE = const(5)
END = const(6)

# Payload formats. OBJECT never travels: it marks an object passed by reference inside the process.
RAW = const(0)
CBOR = const(1)
TYPED_AS_ENDPOINT = const(2)
TYPED = const(3)
OBJECT = const(4)

# Queue policies of a receiver.
REFUSE = const(0)
DROP_OLDEST = const(1)
DROP_NEWEST = const(2)

# Link errors (CLOSE).
GOODBYE = const(0)
NOT_BUSWAY = const(1)
BAD_VERSION = const(2)
BUS_NAME = const(3)
SELF = const(4)
DUPLICATE_LINK = const(5)
TOKEN = const(7)
LIMITS = const(8)
MALFORMED = const(9)
TOO_LARGE = const(10)
UNKNOWN_ALIAS = const(11)
UNKNOWN_FRAME = const(12)
BAD_STATE = const(13)
TOO_MANY = const(14)
SILENT = const(15)
HELLO_TIMEOUT = const(16)
NOT_READING = const(17)
MESH_FULL = const(18)
REPLACED = const(19)
LOST = const(20)  # never sent: the connection ended without a goodbye
LINK_ERROR_NAMES = {
    GOODBYE: "GOODBYE",
    NOT_BUSWAY: "NOT_BUSWAY",
    BAD_VERSION: "VERSION",
    BUS_NAME: "BUS_NAME",
    SELF: "SELF",
    DUPLICATE_LINK: "DUPLICATE_LINK",
    TOKEN: "TOKEN",
    LIMITS: "LIMITS",
    MALFORMED: "MALFORMED",
    TOO_LARGE: "TOO_LARGE",
    UNKNOWN_ALIAS: "UNKNOWN_ALIAS",
    UNKNOWN_FRAME: "UNKNOWN_FRAME",
    BAD_STATE: "STATE",
    TOO_MANY: "TOO_MANY",
    SILENT: "SILENT",
    HELLO_TIMEOUT: "HELLO_TIMEOUT",
    NOT_READING: "NOT_READING",
    MESH_FULL: "MESH_FULL",
    REPLACED: "REPLACED",
    LOST: "LOST",
}

# Reasons and error codes of messages (ERROR, UNDELIVERABLE).
NO_ENDPOINT = const(1)
QUEUE_FULL = const(2)
EXPIRED = const(3)
NO_ROUTE = const(4)
RECEIVER_CLOSED = const(5)
MESSAGE_TOO_LARGE = const(6)
WRONG_KIND = const(7)
DROPPED = const(8)
UNREADABLE = const(9)
NOT_A_STREAM = const(10)
PART_LOST = const(11)
BUS_CLOSED = const(12)
REASON_LAST = const(63)
HANDLER_FAILED = const(64)
REASON_NAMES = {
    NO_ENDPOINT: "NO_ENDPOINT",
    QUEUE_FULL: "QUEUE_FULL",
    EXPIRED: "EXPIRED",
    NO_ROUTE: "NO_ROUTE",
    RECEIVER_CLOSED: "RECEIVER_CLOSED",
    MESSAGE_TOO_LARGE: "TOO_LARGE",
    WRONG_KIND: "WRONG_KIND",
    DROPPED: "DROPPED",
    UNREADABLE: "UNREADABLE",
    NOT_A_STREAM: "NOT_A_STREAM",
    PART_LOST: "PART_LOST",
    BUS_CLOSED: "BUS_CLOSED",
    HANDLER_FAILED: "HANDLER_FAILED",
}

# States of a connection.
GREETING = const(0)
AUTHENTICATING = const(1)
OPEN = const(2)
CLOSING = const(3)
CLOSED = const(4)
STATE_NAMES = ("greeting", "authenticating", "open", "closing", "closed")

# Sizes in bytes, counts, and times in milliseconds. docs/guarantees.md lists them for users.
ID_SIZE = const(16)
INCARNATION_SIZE = const(4)
NONCE_SIZE = const(8)
PROOF_SIZE = const(32)
TEXT_SIZE_MAX = const(64)
CLOSE_TEXT_SIZE_MAX = const(256)
HELLO_SIZE_MAX = const(512)
FRAME_SIZE_MIN = const(128)
HEADER_SIZE_MAX = const(96)
ENTRIES_MAX = const(16384)
ANSWERS_MAX = const(16384)
LINKS_MAX = const(256)
DEPARTED_MAX = const(1024)
QUEUE_SIZE_MAX = const(1048576)
BROADCAST_SIZE_MAX = const(1048576)
QUEUE_LOW = const(262144)
OUTSTANDING_MAX = const(65536)
ID_MAX = const(0x0FFFFFFF)
OPENING_CREDIT = const(4)
STREAM_WINDOW = const(64)

HELLO_TIMEOUT_MS = const(5000)
CLOSING_MS = const(2000)
SYNC_MS = const(2000)
SILENT_INTERVALS = const(3)
PROBE_MS = const(1000)
PROBE_MAX_MS = const(30000)
FLOW_FALLBACK_MS = const(60000)
FLOW_RECLAIM_MS = const(90000)
FLOW_FORGET_IN_MS = const(180000)
FLOW_FORGET_OUT_MS = const(240000)
SWEEP_MS = const(30000)

# The endpoint that every node answers: UUID version 5 of "busway/introspection" in the namespace of docs/protocol.md.
INTROSPECTION = b"\0" * 16
