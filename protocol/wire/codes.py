"""Numbers of the wire format and the named limits. Knows nothing but them; docs/protocol.md is the
authority.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

VERSION: "Final" = 2
MAGIC = b"BSWY"

# Handshakes of protected links (section 3.2), and what keys and ids are derived with.
PLAIN: "Final" = 0
XXPSK3: "Final" = 1
NNPSK0: "Final" = 2
PSK_AES: "Final" = 3
PROLOGUE = b"busway-2\0"
TOKEN_CONTEXT = b"busway-token-2"
BOARD_TOKEN_CONTEXT = b"busway-board-token-2"
KEYS_CONTEXT = b"busway-keys-2"
ID_CONTEXT = b"busway-id-2"
BOARD_ID_CONTEXT = b"busway-board-id-2"
BOUND: "Final" = 0x80  # in the first byte of a node id: it is that of a key

# In what role somebody may come.
ROLE_NONE: "Final" = 0
ROLE_LEAF: "Final" = 1
ROLE_ROUTER: "Final" = 2

# What a policy may allow somebody, and what it may bound for a link (routing/guard.py).
MAY_SERVE: "Final" = 0
MAY_CALL: "Final" = 1
MAY_SEND: "Final" = 2
MAY_PUBLISH: "Final" = 3
MAY_SUBSCRIBE: "Final" = 4
MAY_SEE: "Final" = 5
MAY_NAMES = ("serve", "call", "send", "publish", "subscribe", "see")
QUOTA_ROUTES: "Final" = 0
QUOTA_ENTRIES: "Final" = 1
QUOTA_UNFINISHED: "Final" = 2
QUOTA_HANDLERS: "Final" = 3
QUOTA_LOOKUPS: "Final" = 4  # which no policy bounds
QUOTA_PATTERNS: "Final" = 5  # nor this: of one link, that mean one name
QUOTA_NAMES = ("routes", "entries", "unfinished", "handlers", "lookups", "patterns")

# Realms, narrow to wide.
PROCESS: "Final" = 0
USERSPACE: "Final" = 1
LOCALNET: "Final" = 2
GLOBAL: "Final" = 3
REALM_NAMES = ("process", "userspace", "localnet", "global")

# Kinds of endpoint.
UNICAST: "Final" = 1
ANYCAST: "Final" = 2
BROADCAST: "Final" = 3
KIND_NAMES = ("", "unicast", "anycast", "broadcast")

# Sorts of link.
STREAM: "Final" = 0

# Control frames.
HELLO: "Final" = 0x01
HANDSHAKE: "Final" = 0x02
CLOSE: "Final" = 0x03
PING: "Final" = 0x04
PONG: "Final" = 0x05
DIRECTORY: "Final" = 0x06
MORE: "Final" = 0x07
ROUTES: "Final" = 0x08
SYNC: "Final" = 0x09
RUN: "Final" = 0x0A
SLEEP: "Final" = 0x41
IGNORABLE: "Final" = 0x40

# Message frames: the head's bits and the kinds in bits 6-4.
MESSAGE: "Final" = 0x80
HEAD_ROUTED: "Final" = 0x08
HEAD_OPTIONS: "Final" = 0x04
SEND: "Final" = 0
PUBLISH: "Final" = 1
CONFIRM: "Final" = 2
REQUEST: "Final" = 3
REPLY: "Final" = 4
PART: "Final" = 5
ERROR: "Final" = 6
SIGNAL: "Final" = 7

OPTION_CUT: "Final" = 1
OPTION_STREAM: "Final" = 2
OPTION_BEST_EFFORT: "Final" = 3
OPTION_REACH: "Final" = 4
OPTION_NAME: "Final" = 6
OPTION_RETAIN: "Final" = 7
CLEARED: "Final" = 0x80000000  # of the number in RETAIN: there is no last value any more
OPTION_LANE: "Final" = 5

# The lane byte: a priority, and whether a retained value is sent anew. NORMAL is never written.
LOW: "Final" = 0
NORMAL: "Final" = 1
HIGH: "Final" = 2
URGENT: "Final" = 3
PRIORITY_NAMES = ("low", "normal", "high", "urgent")
REPLAY: "Final" = 4
LANE_MAX: "Final" = 7

CANCEL: "Final" = 1
CREDIT: "Final" = 2
PROBE: "Final" = 3
PART_CREDIT: "Final" = 4
UNDELIVERABLE: "Final" = 5
END: "Final" = 6
WHO: "Final" = 7
HAVE: "Final" = 8
PRUNE: "Final" = 9
GRAFT: "Final" = 10
TRACE: "Final" = 11
TRACED: "Final" = 12
SELECT: "Final" = 13
SELECTED: "Final" = 14
HAVE_PART: "Final" = 15

# Flags of SELECTED.
MORE_FOLLOW: "Final" = 1
REFUSED: "Final" = 2  # the expression is not understood, or too much was asked

# Entries of a ROUTES frame (section 10).
RETRACT: "Final" = 0
UPDATE: "Final" = 1
PARENT: "Final" = 2
PARENT_WITH: "Final" = 3
SEQREQ: "Final" = 4
SEQREQ_WIDE: "Final" = 5
ACK: "Final" = 6
DEPARTED: "Final" = 7

# The routing header (section 5.4) and the numbers of the two nodes that a link joins.
HOW_DESTINATION: "Final" = 4
HOW_SOURCE: "Final" = 8
SENDER: "Final" = 1
RECEIVER: "Final" = 2

# Payload formats. OBJECT never travels: it marks an object passed by reference inside the process.
RAW: "Final" = 0
CBOR: "Final" = 1
TYPED_AS_ENDPOINT: "Final" = 2
TYPED: "Final" = 3
OBJECT: "Final" = 4

# Queue policies of a receiver.
REFUSE: "Final" = 0
DROP_OLDEST: "Final" = 1
DROP_NEWEST: "Final" = 2
LATEST: "Final" = 3

# Link errors (CLOSE).
GOODBYE: "Final" = 0
NOT_BUSWAY: "Final" = 1
BAD_VERSION: "Final" = 2
BUS_NAME: "Final" = 3
SELF: "Final" = 4
DUPLICATE_LINK: "Final" = 5
TOKEN: "Final" = 7
LIMITS: "Final" = 8
MALFORMED: "Final" = 9
TOO_LARGE: "Final" = 10
UNKNOWN_ALIAS: "Final" = 11
UNKNOWN_FRAME: "Final" = 12
BAD_STATE: "Final" = 13
TOO_MANY: "Final" = 14
SILENT: "Final" = 15
HELLO_TIMEOUT: "Final" = 16
NOT_READING: "Final" = 17
MESH_FULL: "Final" = 18
REPLACED: "Final" = 19
LOST: "Final" = 20  # never sent: the connection ended without a goodbye
RESTARTED: "Final" = 21  # never sent: the other side of a packet link has started anew
SAME_ROLE: "Final" = 22
FORGED: "Final" = 23
IDENTITY: "Final" = 24
NOT_A_ROUTER: "Final" = 25
UNTRUSTED: "Final" = 26
PATTERN: "Final" = 27
NAME_TAKEN: "Final" = 28
NOT_ADMITTED: "Final" = 29
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
    RESTARTED: "RESTARTED",
    SAME_ROLE: "SAME_ROLE",
    FORGED: "FORGED",
    IDENTITY: "IDENTITY",
    NOT_A_ROUTER: "NOT_A_ROUTER",
    UNTRUSTED: "UNTRUSTED",
    PATTERN: "PATTERN",
    NAME_TAKEN: "NAME_TAKEN",
    NOT_ADMITTED: "NOT_ADMITTED",
}

# Reasons and error codes of messages (ERROR, UNDELIVERABLE).
NO_ENDPOINT: "Final" = 1
QUEUE_FULL: "Final" = 2
EXPIRED: "Final" = 3
NO_ROUTE: "Final" = 4
RECEIVER_CLOSED: "Final" = 5
MESSAGE_TOO_LARGE: "Final" = 6
WRONG_KIND: "Final" = 7
DROPPED: "Final" = 8
UNREADABLE: "Final" = 9
NOT_A_STREAM: "Final" = 10
PART_LOST: "Final" = 11
BUS_CLOSED: "Final" = 12
LOST_AFTER_SENDING: "Final" = 13  # never sent: what a node says of its own request
OVERTAKEN: "Final" = 14
NO_PERMISSION: "Final" = 15
NO_PRIORITIES: "Final" = 16
NO_FILES: "Final" = 17
FILES_FULL: "Final" = 18
REASON_LAST: "Final" = 63
HANDLER_FAILED: "Final" = 64
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
    LOST_AFTER_SENDING: "LOST_AFTER_SENDING",
    OVERTAKEN: "OVERTAKEN",
    NO_PERMISSION: "NO_PERMISSION",
    NO_PRIORITIES: "NO_PRIORITIES",
    NO_FILES: "NO_FILES",
    FILES_FULL: "FILES_FULL",
    HANDLER_FAILED: "HANDLER_FAILED",
}

# States of a connection.
SECURING: "Final" = 0
GREETING: "Final" = 1
OPEN: "Final" = 2
CLOSING: "Final" = 3
CLOSED: "Final" = 4
STATE_NAMES = ("securing", "greeting", "open", "closing", "closed")

# Sizes in bytes, counts, and times in milliseconds. docs/guarantees.md lists them for users.
ID_SIZE: "Final" = 16
INCARNATION_SIZE: "Final" = 4
KEY_SIZE: "Final" = 20  # of a node's id and incarnation
TEXT_SIZE_MAX: "Final" = 64
CLOSE_TEXT_SIZE_MAX: "Final" = 120
HELLO_SIZE_MAX: "Final" = 512
FRAME_SIZE_MIN: "Final" = 128
HEADER_SIZE_MAX: "Final" = 116
LABELS_MAX: "Final" = 8  # of one endpoint
LABEL_SIZE_MAX: "Final" = 32
GONE_SIZE_MAX: "Final" = 128  # of a last word, its format and type not counted
SELECTOR_SIZE_MAX: "Final" = 512
SELECTOR_TERMS_MAX: "Final" = 64  # labels, names and operators
SELECTIONS_MAX: "Final" = 64  # selectors of which a node knows what they mean
SELECTIONS_WORK_MAX: "Final" = 1024  # steps of those that others ask for, for each endpoint that changes
SELECTED_MAX: "Final" = 256  # endpoints that one answer to a SELECT names
SELECTS_LINK_MAX: "Final" = 16  # selectors that are asked on for one link at once
SELECT_WORK_MAX: "Final" = 8192  # terms times endpoints looked at in a second for one link
SELECTS_SECOND_MAX: "Final" = 24  # questions of one link that are answered in a second
SELECT_MS: "Final" = 5000  # how long an answer to a SELECT counts
ENTRIES_MAX: "Final" = 16384
DIRECTORY_MAX: "Final" = 65536  # entries of all other nodes together
ENTRIES_LINK_MAX: "Final" = 32768  # ... of these told over one link
ENTRIES_FAR_MAX: "Final" = 49152  # ... and by nodes beyond this machine
ROUTES_MAX: "Final" = 16384
ROUTES_LINK_MAX: "Final" = 8192  # of these offered over one link
ROUTES_FAR_MAX: "Final" = 12288  # ... and over links that leave this machine
HOPS_MAX: "Final" = 255
HOLDERS_MAX: "Final" = 16
WATCHES_MAX: "Final" = 256
PATTERNS_TOLD_MAX: "Final" = 256  # that one who asks for them is told of
QUERIES_MAX: "Final" = 1024
QUERIES_LINK_MAX: "Final" = 128  # of these, asked for over one link
HOLDERS_SEEN_MAX: "Final" = 256  # of the holders of one endpoint, looked at for an answer
PRUNES_MAX: "Final" = 4096
TOMBSTONES_MAX: "Final" = 64  # withdrawn endpoints that a line remembers
TRANSIT_SIZE_MAX: "Final" = 8388608  # queued to be passed on over one link, bytes
UNFINISHED_SIZE_MAX: "Final" = 67108864  # kept in one node of large messages that are coming in, bytes
BUFFERS_MAX: "Final" = 64  # that are to be written at once; Linux and BSD take 1024
SPARE_SIZE_MAX: "Final" = 4194304  # of buffers that a node keeps for large messages to come, bytes
HELD_SIZE_MAX: "Final" = 1048576  # waiting in one node for ways that were lost, bytes
FAR_WINDOW_SIZE: "Final" = 524288  # under way from one origin over several hops, bytes
ANSWERS_MAX: "Final" = 16384
LINKS_MAX: "Final" = 1280
LINKS_RESERVED: "Final" = 256  # of these, for programs on this machine
DEPARTED_MAX: "Final" = 1024
DENIALS_LINK_MAX: "Final" = 64  # of one link, told once
QUEUE_SIZE_MAX: "Final" = 1048576
BROADCAST_SIZE_MAX: "Final" = 1048576
QUEUE_LOW: "Final" = 262144
QUEUE_RESERVE: "Final" = 131072  # beyond a full one, for high and urgent messages
TRANSIT_RESERVE: "Final" = 1048576  # ... of those that are passed on
PACKET_FRAME_SIZE_MAX: "Final" = 512  # on packet links, where a longer one would keep others waiting
PACKET_FRAME_SIZE_SLOW: "Final" = 216  # ... so slow that a directory is not pushed: 100 bytes and a header
PACKET_PIECE_SIZE_SLOW: "Final" = 123  # of a large message there: with its header within a packet
PACKET_BROADCAST_SIZE_MAX: "Final" = 16384
BEST_EFFORT_SIZE_MAX: "Final" = 1024  # queued on a packet link, from which on it takes no more of that class
ALIASES_MAX: "Final" = 16383  # numbers of one or two bytes for endpoints, of one direction of a link
PINS_MAX: "Final" = 64  # endpoints whose best-effort messages may travel in packets that are not repeated
OUTSTANDING_MAX: "Final" = 65536
ID_MAX: "Final" = 0x0FFFFFFF
OPENING_CREDIT: "Final" = 4
STREAM_WINDOW: "Final" = 64
BRIDGE_MIN: "Final" = 16384  # broadcasts dropped in a row, from which on a probe tells the number
STREAM_PATIENCE_MS: "Final" = 120000
STREAM_STALL_MS: "Final" = 1800000  # an answer of which nothing is read for so long is given up
STALLED_MS: "Final" = 5000  # ... while others wait for a handler
WINDOW_MAX: "Final" = 16384  # of a pair: limits are told modulo 65536

HELLO_TIMEOUT_MS: "Final" = 5000
CLOSING_MS: "Final" = 2000
LINGER_MS: "Final" = 1000
UNFINISHED_MS: "Final" = 60000  # a large message of which nothing comes for so long is given up
SLEEP_MAX_MS: "Final" = 86400000
SYNC_MS: "Final" = 2000
SYNC_PATIENCE_MS: "Final" = 30000  # a neighbour that tells nothing by then is not waited for any more
SILENT_INTERVALS: "Final" = 3
MEASURE_INTERVALS: "Final" = 6  # of keepalive, between two measured round trips of a link that is busy
PROBE_MS: "Final" = 1000
PROBE_MAX_MS: "Final" = 30000
FLOW_FALLBACK_MS: "Final" = 60000
FLOW_RECLAIM_MS: "Final" = 90000
FLOW_FORGET_IN_MS: "Final" = 180000
FLOW_FORGET_OUT_MS: "Final" = 240000
SWEEP_MS: "Final" = 30000
SEQREQ_MS: "Final" = 1000
SEQREQ_MAX_MS: "Final" = 32000
ROUTE_LOSS_GRACE_MS: "Final" = (
    500  # a node whose way is lost counts as reachable, if another way may be found
)
BELIEF_MS: "Final" = 10000  # a way that a node's messages took still counts for so long: news is late, too
LOST_MS: "Final" = 2000  # a node that is gone without a goodbye is lost when it has not come back by then
DUPLICATE_MS: "Final" = 30000
RACE_MS: "Final" = 5000  # so long after one program took a name another may have taken it at the same time

# The endpoint that every node answers: UUID version 5 of "busway/introspection" in the namespace of
# docs/protocol.md.
INTROSPECTION = b"\x52\x8d\x7f\xc3\xac\x29\x5b\x88\x9d\x2e\xda\x2d\xc1\x83\x36\x36"
ASK_AUDIT = b"audit"  # the payload of who asks it for the audit trail as well

# The endpoint of the routers that ask over slow links (section 4.3): UUID version 5 of "busway/lookup".
LOOKUP = b"\x8d\x88\x01\x09\x4e\xcc\x5a\x92\xa5\x13\x20\x2a\x1e\x0b\x94\xa0"

# What those are asked for who may know of subscriptions by pattern (section 11.1): of "busway/patterns".
PATTERNS = b"\xe2\xb9\x33\x76\xd4\xeb\x52\xc9\xb2\xa9\xb9\x39\x52\x7b\x4d\x44"
