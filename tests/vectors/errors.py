"""Bytes that end a link, or just do not, and with which error. May not import busway."""

from tests.vectors.pieces import (
    DEFAULT,
    E1,
    HELLO_B,
    IDS_B,
    INCARNATION_A,
    INCARNATION_B,
    LIMITS,
    MAGIC,
    NODE_A,
    NODE_C,
    SEND_BINDS,
    T1,
    Vector,
    error,
    hexed,
)


def greeting(name: str, data: str, code: int | None, *, scope: str = "format") -> Vector:
    return error(name, data, code, state="greeting", scope=scope)


def securing(name: str, data: str, code: int | None) -> Vector:
    return error(name, data, code, state="securing", scope="link")


def hello_with(name: str, body: str, code: int | None, length: str = "32", scope: str = "format") -> Vector:
    return greeting(f"HELLO {name}", f"{length} 01 {body}", code, scope=scope)


# The first of pattern 3, by a token.
HANDSHAKE = f"27 02 {MAGIC} 02 03 {'00' * 16} {'33' * 16}"
TAIL = f"{DEFAULT} 01 62 03 697063"

FRAMING_ERRORS = [
    greeting("513 bytes before HELLO, on the header alone", "8104", 10, scope="link"),
    greeting("512 bytes before HELLO, the header alone", "8004", None, scope="link"),
    greeting("4 GiB before HELLO", "ffffffff0f", 10, scope="link"),
    greeting("a length of more than 32 bits before HELLO", "8080808010", 9),
    greeting("a length of six bytes before HELLO", "808080808001", 9),
    greeting("a length of zero before HELLO", "00", 9),
    error("4097 bytes, on the header alone", "8120", 10, scope="link"),
    error("4096 bytes, the header alone", "8020", None, scope="link"),
    error("a length of more than 32 bits", "ffffffff7f", 9),
    error("a length of six bytes", "ffffffffff00", 9),
    error("a length of zero", "00", 9),
    error("a padded length of zero", "8000", 9),
    error("a must-know frame that nobody knows", "01 20", 12),
    error("the last must-know head", "02 3f 00", 12),
    error("head 0x00", "01 00", 12),
    error("the first must-know head without a meaning", "01 0b", 12),
    error("head 0x40 is skipped", "01 40", None),
    error("head 0x50 is skipped", "03 50 0102", None),
    error("bytes after CLOSE are not read", "02 03 00 ffffffffffffffff", None),
]

HELLO_ERRORS = [
    hello_with("of another protocol", f"42535758 01 0a {IDS_B} {LIMITS} {TAIL}", 1),
    hello_with("cut in the magic", "425357", 1, "04"),
    hello_with("with nothing behind its head", "", 1, "01"),
    hello_with("of version 1", f"{MAGIC} 01 0a {IDS_B} {LIMITS} {TAIL}", 2),
    hello_with("of version 1 with another layout", f"{MAGIC} 01", 2, "06"),
    hello_with("of version 0", f"{MAGIC} 00 0a {IDS_B} {LIMITS} {TAIL}", 2),
    hello_with("cut after the magic", f"{MAGIC}", 9, "05"),
    hello_with("cut after the version", f"{MAGIC} 02", 9, "06"),
    hello_with("cut in the node", f"{MAGIC} 02 0a 1011", 9, "09"),
    hello_with("cut in the limits", f"{MAGIC} 02 0a {IDS_B} 00 80", 9, "1d"),
    hello_with("without via", f"{MAGIC} 02 0a {IDS_B} {LIMITS} {DEFAULT} 01 62", 9, "2e"),
    hello_with("with via cut", f"{MAGIC} 02 0a {IDS_B} {LIMITS} {DEFAULT} 01 62 03 6970", 9, "31"),
    hello_with(
        "with a label of 65 bytes", f"{MAGIC} 02 0a {IDS_B} {LIMITS} {DEFAULT} 41 {'6c' * 65} 00", 9, "6f"
    ),
    hello_with(
        "with a label that is not UTF-8", f"{MAGIC} 02 0a {IDS_B} {LIMITS} {DEFAULT} 01 ff 03 697063", 9, "32"
    ),
    hello_with("with an option cut in its header", f"{MAGIC} 02 0a {IDS_B} {LIMITS} {TAIL} 05", 9, "33"),
    hello_with("with an option cut in its value", f"{MAGIC} 02 0a {IDS_B} {LIMITS} {TAIL} 05 02 aa", 9, "35"),
    hello_with(
        "with a limit of six bytes", f"{MAGIC} 02 0a {IDS_B} 00 808080808001 808004 7f 04 00 {TAIL}", 9, "36"
    ),
    hello_with("with realm 0", f"{MAGIC} 02 08 {IDS_B} {LIMITS} {TAIL}", 9),
    hello_with(
        "of another bus", f"{MAGIC} 02 0a {IDS_B} {LIMITS} 05 6f74686572 01 62 03 697063", 3, "30", "link"
    ),
    hello_with(
        "of a bus that differs in case",
        f"{MAGIC} 02 0a {IDS_B} {LIMITS} 07 44656661756c74 01 62 03 697063",
        3,
        "32",
        "link",
    ),
    hello_with("of ourselves", f"{MAGIC} 02 0a {NODE_A} {INCARNATION_A} {LIMITS} {TAIL}", 4, "32", "link"),
    hello_with(
        "of our node id in another incarnation",
        f"{MAGIC} 02 0a {NODE_A} {INCARNATION_B} {LIMITS} {TAIL}",
        None,
        "32",
        "link",
    ),
    hello_with("of one who was dialled, too", f"{MAGIC} 02 02 {IDS_B} {LIMITS} {TAIL}", 22, scope="link"),
    hello_with("with frames of 127", f"{MAGIC} 02 0a {IDS_B} 00 7f 808004 7f 04 00 {TAIL}", 8, "31", "link"),
    hello_with(
        "with frames of 128", f"{MAGIC} 02 0a {IDS_B} 00 8001 808004 7f 04 00 {TAIL}", None, "32", "link"
    ),
    hello_with("without aliases", f"{MAGIC} 02 0a {IDS_B} 00 8020 808004 00 04 00 {TAIL}", 8, "32", "link"),
    hello_with("without partials", f"{MAGIC} 02 0a {IDS_B} 00 8020 808004 7f 00 00 {TAIL}", 8, "32", "link"),
    hello_with(
        "of another bus with a limit too low and an option cut",
        f"{MAGIC} 02 0a {IDS_B} 00 7f 808004 7f 04 00 05 6f74686572 01 62 03 697063 05",
        9,
        "30",
    ),
    hello_with(
        "of another bus with a limit too low",
        f"{MAGIC} 02 0a {IDS_B} 00 7f 808004 7f 04 00 05 6f74686572 01 62 03 697063",
        3,
        "2f",
        "link",
    ),
    hello_with(
        "of ourselves with a limit too low",
        f"{MAGIC} 02 0a {NODE_A} {INCARNATION_A} 00 7f 808004 7f 04 00 {TAIL}",
        4,
        "31",
        "link",
    ),
    greeting("a web browser", "47 45" + "54202f20485454502f312e310d0a" * 5, 1, scope="link"),
    greeting("a must-know frame that nobody knows, before HELLO", "01 20", 1, scope="link"),
    greeting("an ignorable frame before HELLO", "01 50", 1, scope="link"),
    greeting("head 0x00 before HELLO", "01 00", 1, scope="link"),
]

STATE_ERRORS = [
    greeting("PING before HELLO", "02 04 01", 13, scope="link"),
    greeting("PONG before HELLO", "02 05 01", 13, scope="link"),
    greeting("DIRECTORY before HELLO", "05 06 01 01 00 00", 13, scope="link"),
    greeting("ROUTES before HELLO", "07 08 01 01 0007 0000", 13, scope="link"),
    greeting("SYNC before HELLO", "02 09 01", 13, scope="link"),
    greeting("MORE before HELLO", "03 07 00 61", 13, scope="link"),
    greeting("SEND before HELLO", SEND_BINDS, 13, scope="link"),
    greeting("HANDSHAKE on a plain link", f"27 02 {MAGIC} 02 03 {'00' * 32}", 7, scope="link"),
    greeting("HANDSHAKE of version 3 on a plain link", f"07 02 {MAGIC} 03 03", 2),
    error("a second HELLO", HELLO_B, 13, scope="link"),
    error("HANDSHAKE on an open link", f"21 02 {'00' * 32}", 13, scope="link"),
    securing("HELLO, where there has to be a handshake", HELLO_B, 7),
    securing("HELLO of version 1, where there has to be a handshake", f"06 01 {MAGIC} 01", 2),
    securing("HANDSHAKE of another protocol", "07 02 42535758 02 03", 1),
    securing("HANDSHAKE of version 1", f"07 02 {MAGIC} 01 03", 2),
    securing("HANDSHAKE without a pattern", f"06 02 {MAGIC} 02", 9),
    securing("HANDSHAKE of a pattern that nobody knows", f"07 02 {MAGIC} 02 04", 27),
    securing("HANDSHAKE of no pattern", f"07 02 {MAGIC} 02 00", 27),
    securing("HANDSHAKE of a pattern that is not taken", f"37 02 {MAGIC} 02 01 {'09' * 48}", 27),
    securing("HANDSHAKE with a byte too few", f"26 02 {MAGIC} 02 03 {'00' * 31}", 9),
    securing("HANDSHAKE with a byte too many", f"28 02 {MAGIC} 02 03 {'00' * 33}", 9),
    securing("HANDSHAKE with a key that nobody knows", f"27 02 {MAGIC} 02 03 {'11' * 32}", 7),
    securing("HANDSHAKE that is right", HANDSHAKE, None),
    securing("a first record that is none", f"{HANDSHAKE} 09 {'44' * 9}", 7),
    securing("a first record without contents", f"{HANDSHAKE} 08 {'44' * 8}", 7),
    securing("a first record that is too long, on the header alone", f"{HANDSHAKE} 8904", 10),
    securing("a first record of the longest, the header alone", f"{HANDSHAKE} 8804", None),
    securing("CLOSE in the place of the first record", f"{HANDSHAKE} 02 03 00", None),
    securing("CLOSE before a handshake", "02 03 00", None),
    securing("PING before a handshake", "02 04 01", 13),
    securing("SEND before a handshake", SEND_BINDS, 13),
    securing("an ignorable frame before a handshake", "01 50", 1),
    securing("a web browser before a handshake", "47 45" + "54202f20485454502f312e310d0a" * 5, 1),
    securing("a length of zero before a handshake", "00", 9),
    securing("513 bytes before a handshake, on the header alone", "8104", 10),
]

CONTROL_ERRORS = [
    error("CLOSE without a code", "01 03", 9),
    error("CLOSE with a code cut", "02 03 80", 9),
    error("PING without a token", "01 04", 9),
    error("PING with a byte too many", "03 04 01 00", 9),
    error("PING with a token of more than 32 bits", "06 04 8080808010", 9),
    error("PONG without a token", "01 05", 9),
    error("PONG with a byte too many", "03 05 01 00", 9),
    error("DIRECTORY without a head", "01 06", 9),
    error("DIRECTORY without a node", "02 06 01", 9),
    error("DIRECTORY without versions", "03 06 01 01", 9),
    error("DIRECTORY without its version", "04 06 01 01 00", 9),
    error("DIRECTORY of realm 0", "05 06 00 01 00 00", 9),
    error("DIRECTORY with its label cut", "05 06 05 01 02 61", 9),
    error("DIRECTORY of a node that was never bound", "05 06 01 03 00 00", 11, scope="link"),
    error("DIRECTORY with an entry cut in its uuid", "06 06 01 01 00 01 01", 9),
    error("DIRECTORY entry without the credit it promises", f"16 06 01 01 00 01 11 {E1}", 9),
    error("DIRECTORY entry without the cost it promises", f"16 06 01 01 00 01 21 {E1}", 9),
    error("DIRECTORY entry without the name it promises", f"16 06 01 01 00 01 41 {E1}", 9),
    error("DIRECTORY entry with its name cut", f"18 06 01 01 00 01 41 {E1} 02 61", 9),
    error("DIRECTORY entry with a name of 65 bytes", f"58 06 01 01 00 01 41 {E1} 41 {'6e' * 65}", 9),
    error("DIRECTORY entry with a name that is not UTF-8", f"18 06 01 01 00 01 41 {E1} 01 c3", 9),
    error("DIRECTORY entry with bit 2 set", f"16 06 01 01 00 01 05 {E1}", 9),
    error("DIRECTORY entry without the extension it promises", f"16 06 01 01 00 01 81 {E1}", 9),
    error("DIRECTORY entry with its extension cut", f"19 06 01 01 00 01 81 {E1} 03 01 01", 9),
    error(
        "DIRECTORY entry with an item longer than its extension",
        f"19 06 01 01 00 01 81 {E1} 02 01 01",
        9,
        scope="extension",
    ),
    error("DIRECTORY entry with half an item", f"18 06 01 01 00 01 81 {E1} 01 09", 9, scope="extension"),
    error(
        "DIRECTORY entry with a label of 0 bytes", f"19 06 01 01 00 01 81 {E1} 02 01 00", 9, scope="extension"
    ),
    error(
        "DIRECTORY entry with a label of 33 bytes",
        f"3a 06 01 01 00 01 81 {E1} 23 01 21 {'61' * 33}",
        9,
        scope="extension",
    ),
    error(
        "DIRECTORY entry with a label that is not UTF-8",
        f"1a 06 01 01 00 01 81 {E1} 03 01 01 ff",
        9,
        scope="extension",
    ),
    error(
        "DIRECTORY entry with nine labels",
        f"32 06 01 01 00 01 81 {E1} 1b {'01 01 61' * 9}",
        9,
        scope="extension",
    ),
    error(
        "DIRECTORY entry with 255 labels",
        f"9506 06 01 01 00 01 81 {E1} fd05 {'01 01 61' * 255}",
        9,
        scope="extension",
    ),
    error(
        "DIRECTORY entry with a last word without a format",
        f"19 06 01 01 00 01 81 {E1} 02 02 00",
        9,
        scope="extension",
    ),
    error(
        "DIRECTORY entry with a last word of format 4",
        f"1a 06 01 01 00 01 81 {E1} 03 02 01 04",
        9,
        scope="extension",
    ),
    error(
        "DIRECTORY entry with a last word without its type",
        f"1a 06 01 01 00 01 81 {E1} 03 02 01 03",
        9,
        scope="extension",
    ),
    error(
        "DIRECTORY entry with a last word of 129 bytes",
        f"9c01 06 01 01 00 01 81 {E1} 8401 02 82 00 {'00' * 129}",
        9,
        scope="extension",
    ),
    error(
        "DIRECTORY entry with two last words",
        f"1d 06 01 01 00 01 81 {E1} 06 02 01 00 02 01 00",
        9,
        scope="extension",
    ),
    error("DIRECTORY withdrawal with bits of what it has not", f"16 06 01 01 00 01 10 {E1}", 9),
    error("DIRECTORY withdrawal with bit 7 set", f"16 06 01 01 00 01 80 {E1}", 9),
    error("ROUTES entry of a kind that nobody knows", "03 08 08 01", 9),
    error("ROUTES entry without a node", "02 08 01", 9),
    error("ROUTES UPDATE without a metric", "05 08 01 01 0001", 9),
    error("ROUTES PARENT with a version too few", "05 08 03 02 01 01", 9),
    error("ROUTES SEQREQ without a number", "03 08 04 01", 9),
    error("ROUTES ACK cut", "03 08 06 00", 9),
    error("ROUTES that acknowledge what was never sent", "04 08 06 0001", 9, scope="link"),
    error("ROUTES with a number that was never bound", "03 08 00 03", 11, scope="link"),
    error("ROUTES that bind the number of the sender", f"18 08 00 00 01 {NODE_C}", 11),
    error("ROUTES that bind the number of the reader", f"18 08 00 00 02 {NODE_C}", 11),
    error("ROUTES that bind the last number", f"1a 08 00 00 808001 {NODE_C}", None),
    error("ROUTES that bind a number above the last", f"1a 08 00 00 818001 {NODE_C}", 11, scope="link"),
    error("ROUTES with a node cut in its incarnation", f"17 08 00 00 03 {NODE_C[:-2]}", 9),
    error("SYNC without a stage", "01 09", 9),
    error("SYNC with a byte too many", "03 09 01 00", 9),
    error("WHO with a byte too many", f"15 f0 07 00 01 {E1} 00", 9),
    error("SELECT without an id", "02 f0 0d", 9),
    error("SELECT with an id of 0", "03 f0 0d 00", 9),
    error("SELECTED without flags", "03 f0 0e 05", 9),
    error("SELECTED with a holder cut", "07 f0 0e 05 00 01 01 00", 9),
    error(
        "SELECTED with a holder whose endpoint was never bound",
        "09 f0 0e 05 00 01 01 05 4001",
        11,
        scope="link",
    ),
    error("SELECTED with 17 holders", f"6a f0 0e 05 00 01 01 00 01 {E1} 4001" + "01 01 01 4001" * 16, 9),
    error("HAVE with a holder cut", f"17 f0 08 00 01 {E1} 01 01 40", 9),
    error("HAVE with 16 holders", f"54 f0 08 00 01 {E1}" + "01 01 4001" * 16, None),
    error("HAVE with 17 holders", f"58 f0 08 00 01 {E1}" + "01 01 4001" * 17, 9),
    error("HAVE_PART with a holder cut", f"17 f0 0f 00 01 {E1} 01 01 40", 9),
    error("HAVE_PART with 17 holders", f"58 f0 0f 00 01 {E1}" + "01 01 4001" * 17, 9),
    error("HAVE with a holder without the extension it promises", f"18 f0 08 00 01 {E1} 81 01 4001", 9),
    error("HAVE with a holder's extension cut", f"1a f0 08 00 01 {E1} 81 01 4001 03 01", 9),
    error("PRUNE without a tree", f"14 f0 09 00 01 {E1}", 9),
    error("TRACE with id 0", "03 f0 0b 00", 9),
    error("a routing header with bit 4 set", f"18 88 10 ff 00 01 {E1} 0001 61", 9),
    error("a routing header cut before its hops", "02 88 00", 9),
    error("a routing header without the node it promises", "03 88 04 ff", 9),
    error("a routing header with a source that was never bound", "06 c8 08 ff 03 01 00", 11, scope="link"),
    error("a routing header that binds the number of the reader", f"1b c8 08 ff 00 02 {NODE_C} 01 00", 11),
    error("a REPLY of a node behind the sender", f"1b c8 08 ff 00 03 {NODE_C} 01 00", None),
    error("a SEND of our own that comes back", f"18 88 08 ff 02 00 01 {E1} 0001", None),
    error(
        "a PRUNE of a node that is no neighbour is ignored",
        f"30 f8 08 ff 00 03 {NODE_C} 09 00 01 {E1} 02",
        None,
    ),
    error("MORE without a partial", "01 07", 9),
]


def of_leaf(name: str, data: str, code: int | None, scope: str = "link") -> Vector:
    return error(name, data, code, state="open to a leaf", scope=scope)


LEAF_ERRORS = [
    of_leaf("a leaf's line", f"16 06 01 01 00 01 01 {E1}", None),
    of_leaf("SYNC of a leaf", "02 09 03", None),
    of_leaf("ROUTES of a leaf are ignored", f"1c 08 01 00 03 {NODE_C} 0001 0000", None),
    of_leaf("ROUTES of a leaf with half an entry", "02 08 01", 9, "format"),
    of_leaf("a leaf binds number 127 of 127", f"18 08 00 00 7f {NODE_C}", None),
    of_leaf("a leaf binds number 128 of 127", f"19 08 00 00 8001 {NODE_C}", 11),
    of_leaf("a leaf names itself as source", "06 c8 08 ff 01 01 00", None),
    of_leaf("a leaf names another node as source", f"1b c8 08 ff 00 03 {NODE_C} 01 00", 9),
    of_leaf("a leaf sends to a node that is nowhere", f"1b c8 04 ff 00 03 {NODE_C} 01 00", None),
    of_leaf("a leaf of our own asks", f"14 f0 07 00 01 {E1}", None),
]

MESSAGE_ERRORS = [
    error("a message without an endpoint", "01 80", 9),
    error("SEND cut in its sequence number", f"13 80 0001 {E1} 00", 9),
    error("SEND with its binding cut", "04 80 0001 e1", 9),
    error("PUBLISH without fields", "01 90", 9),
    error("CONFIRM without a timeout", f"15 a0 0001 {E1} 0001 01", 9),
    error("CONFIRM with id 0", f"16 a0 0001 {E1} 0001 00 01", 9),
    error("CONFIRM with a timeout of 0", f"16 a0 0001 {E1} 0001 01 00", 9),
    error("REQUEST with id 0", f"16 b0 0001 {E1} 0001 00 01", 9),
    error("REQUEST with a timeout of 0", f"16 b0 0001 {E1} 0001 01 00", 9),
    error("REQUEST with an id of six bytes", f"1b b0 0001 {E1} 0001 808080808001 01", 9),
    error("REPLY without an id", "01 c0", 9),
    error("REPLY with id 0", "02 c0 00", 9),
    error("REPLY without the type it promises", "02 c3 01", 9),
    error("PART with its index cut", "03 d0 01 00", 9),
    error("PART with id 0", "04 d0 00 0000", 9),
    error("ERROR without a code", "02 e0 01", 9),
    error("ERROR with id 0", "03 e0 00 01", 9),
    error("ERROR with CBOR", "04 e1 01 01 60", 9),
    error("ERROR with a type", f"15 e3 01 01 0001 {T1}", 9),
    error("SEND with a routing header announced that is not there", f"14 88 0001 {E1} 0001", 9),
    error("SIGNAL with a routing header and nothing behind it", "03 f8 01 05", 9),
    error("alias never bound", "05 80 05 0001 61", 11, scope="link"),
    error("type alias never bound", f"17 83 0001 {E1} 0001 02 a0", 11, scope="link"),
    error("alias bound by the other name only", f"{SEND_BINDS} 04 80 02 0002", 11, scope="link"),
    error("binding alias 0", f"14 80 0000 {E1} 0001", 11),
    error("a padded 0 for an alias", "05 80 8000 0001", 11),
    error("binding alias 128 of 127", f"16 80 00 8001 {E1} 0001", 11, scope="link"),
    error("alias 128 of 127", "05 80 8001 0001", 11, scope="link"),
]

OPTION_ERRORS = [
    error("options that run past the frame", "04 c4 05 01 61", 9),
    error("options cut in an item's header", "04 c4 01 09 01", 9),
    error("an option that runs past the options", "06 c4 02 09 01 01 61", 9),
    error("options without a length", "01 c4", 9),
    error("CUT of 4 bytes", "0a c4 06 01 04 00 000002 01 61", 9),
    error("CUT of 6 bytes", "0c c4 08 01 06 00 00000002 00 01 61", 9),
    error("STREAM of 1 byte", f"19 b4 03 02 01 01 0001 {E1} 0001 01 01", 9),
    error("STREAM of 3 bytes", f"1c b4 05 02 03 000100 0001 {E1} 0001 01 01", 9),
    error("CUT twice", "12 c4 0e 01 05 00 00000002 01 05 01 00000002 01 61", 9),
    error("STREAM with a window of 0", f"1c b4 04 02 02 0000 0001 {E1} 0001 01 01", 9),
    error("STREAM of 1 byte where it has no business is skipped", "06 c4 03 02 01 00 01", None),
    error("CUT of 1 byte where it has no business is skipped", "07 f4 03 01 01 00 01 05", None),
    error("BEST_EFFORT with a value, twice", f"1b 84 05 03 01 00 03 00 0001 {E1} 0001", None),
    error("BEST_EFFORT where it has no business is skipped", "07 c4 03 03 01 00 01 61", None),
    error("NAME without a byte", f"18 94 02 06 00 0001 {E1} 0001", 9),
    error("NAME of 65 bytes", f"59 94 43 06 41 {'61' * 65} 0001 {E1} 0001", 9),
    error("NAME of 64 bytes", f"58 94 42 06 40 {'61' * 64} 0001 {E1} 0001", None),
    error("NAME that is not UTF-8", f"19 94 03 06 01 ff 0001 {E1} 0001", 9),
    error("NAME twice", f"1c 94 06 06 01 61 06 01 61 0001 {E1} 0001", 9),
    error("NAME where it has no business is skipped", "05 c4 02 06 00 01", None),
    error("RETAIN of 3 bytes", f"1b 94 05 07 03 000001 0001 {E1} 0001", 9),
    error("RETAIN of 5 bytes", f"1d 94 07 07 05 0000000001 0001 {E1} 0001", 9),
    error("RETAIN of number 0", f"1c 94 06 07 04 00000000 0001 {E1} 0001", 9),
    error("RETAIN of number 0 that clears", f"1c 94 06 07 04 80000000 0001 {E1} 0001", 9),
    error("RETAIN twice", f"22 94 0c 07 04 00000001 07 04 00000001 0001 {E1} 0001", 9),
    error("RETAIN where it has no business is skipped", "06 c4 03 07 01 00 01", None),
    error("an unknown option twice", "07 c4 04 09 00 09 00 01", None),
    error("LANE of no byte", "06 c4 02 05 00 01 61", 9),
    error("LANE of 2 bytes", "08 c4 04 05 02 0303 01 61", 9),
    error("LANE that says normal", "07 c4 03 05 01 01 01 61", 9),
    error("LANE of 8", "07 c4 03 05 01 08 01 61", 9),
    error("LANE of 255 on a signal", "07 f4 03 05 01 ff 01 05", 9),
    error("LANE twice", "0a c4 06 05 01 03 05 01 03 01 61", 9),
    error("STREAM twice", f"1f b4 08 02 02 0001 02 02 0001 0001 {E1} 0001 01 01", 9),
]

CUT_ERRORS = [
    error("a message of 65537 bytes", "0b c4 07 01 05 00 00010001 01 61", 10, scope="link"),
    error("a message of 65536 bytes", "0b c4 07 01 05 00 00010000 01 61", None, scope="link"),
    error("partial 4 of 4", "0b c4 07 01 05 04 00000002 01 61", 14, scope="link"),
    error("partial 3 of 4", "0b c4 07 01 05 03 00000002 01 61", None, scope="link"),
    error(
        "a partial in use",
        "0b c4 07 01 05 00 00000002 01 61 0b c4 07 01 05 00 00000002 02 61",
        14,
        scope="link",
    ),
    error("MORE of a partial not in use", "03 07 00 61", 14, scope="link"),
    error("MORE of a partial out of range", "03 07 ff 61", 14, scope="link"),
    error(
        "MORE of a partial that is complete",
        "0b c4 07 01 05 00 00000002 01 61 03 07 00 62 03 07 00 63",
        14,
        scope="link",
    ),
    error("a first frame that holds all", "0b c4 07 01 05 00 00000001 01 61", 9, scope="link"),
    error("a first frame that holds more than all", "0c c4 07 01 05 00 00000001 01 6162", 9, scope="link"),
    error("a cut message of 0 bytes", "0a c4 07 01 05 00 00000000 01", 9, scope="link"),
    error("an empty piece", "0b c4 07 01 05 00 00000002 01 61 02 07 00", 9),
    error("more than announced", "0b c4 07 01 05 00 00000002 01 61 04 07 00 6262", 9, scope="link"),
]

SIGNAL_ERRORS = [
    error("SIGNAL without a number", "01 f0", 9),
    error("SIGNAL with a format", "03 f1 01 05", 9),
    error("CANCEL without an id", "02 f0 01", 9),
    error("CANCEL with id 0", "03 f0 01 00", 9),
    error("CANCEL with a byte too many", "04 f0 01 05 00", 9),
    error("CREDIT of an alias never bound", "05 f0 02 01 0010", 11, scope="link"),
    error("CREDIT cut in its limit", f"15 f0 02 0001 {E1} 00", 9),
    error("CREDIT with a byte too many", f"17 f0 02 0001 {E1} 0010 00", 9),
    error("PROBE cut", f"14 f0 03 0001 {E1}", 9),
    error("PROBE with a byte too many", f"17 f0 03 0001 {E1} 0010 00", 9),
    error("PART_CREDIT cut", "04 f0 04 07 00", 9),
    error("PART_CREDIT with a byte too many", "06 f0 04 07 0020 00", 9),
    error("UNDELIVERABLE without a reason", f"16 f0 05 0001 {E1} 0009", 9),
    error("UNDELIVERABLE with a byte too many", f"18 f0 05 0001 {E1} 0009 02 00", 9),
    error("END cut", "04 f0 06 01 00", 9),
    error("END with a byte too many", "06 f0 06 01 0003 00", 9),
    error("unknown signal is skipped", "03 f0 63 ff", None),
]


def of_run(name: str, rest: str, code: int | None, *, scope: str = "format", kind: str = "80") -> Vector:
    """A RUN behind a message that binds alias 1, from its alias on."""
    body = hexed(f"0a {kind} {rest}")
    data = f"{SEND_BINDS} {len(body) // 2:02x} {body}"
    return error(f"RUN {name}", data, code, state="open with runs", scope=scope)


RUN_ERRORS = [
    error("RUN that was not agreed", f"{SEND_BINDS} 0f 0a 80 01 0002 0004 {'61' * 8}", 12, scope="link"),
    greeting("RUN before HELLO", f"0f 0a 80 01 0002 0004 {'61' * 8}", 1, scope="link"),
    of_run("as it should be", f"01 0002 0004 {'61' * 8}", None),
    of_run("of CONFIRM", f"01 0002 0004 {'61' * 8}", 9, kind="a0"),
    of_run("of REPLY", f"01 0002 0004 {'61' * 8}", 9, kind="c0"),
    of_run("of SIGNAL", f"01 0002 0004 {'61' * 8}", 9, kind="f0"),
    of_run("of control frames", f"01 0002 0004 {'61' * 8}", 9, kind="00"),
    of_run("with options", f"00 01 0002 0004 {'61' * 8}", 9, kind="84"),
    of_run("with a type", f"01 0002 01 0004 {'61' * 8}", 9, kind="83"),
    of_run("with a routing header of an unknown layout", f"10 ff 01 0002 0004 {'61' * 8}", 9, kind="88"),
    of_run("by an alias never bound", f"02 0002 0004 {'61' * 8}", 11, scope="link"),
    of_run("without anything", "", 9),
    of_run("cut in its number", "01 00", 9),
    of_run("cut in its size", "01 0002 00", 9),
    of_run("of nothing", "01 0002 0004", 9),
    of_run("that does not end with a payload", f"01 0002 0004 {'61' * 9}", 9),
    of_run("of less than one payload", f"01 0002 0005 {'61' * 4}", 9),
    of_run("of 1 byte each", f"01 0002 0001 {'61' * 8}", 9),
    of_run("of 3 bytes each", f"01 0002 0003 {'61' * 9}", 9),
    of_run("of sizes, cut in their count", "01 0002 0000 00", 9),
    of_run("of no sizes", "01 0002 0000 0000", 9),
    of_run("of more sizes than there may be", f"01 0002 0000 4001 {'61' * 60}", 9),
    of_run("of more sizes than it has", f"01 0002 0000 0003 0004 0004 {'61'}", 9),
    of_run("of a size below 4", f"01 0002 0000 0002 0003 0005 {'61' * 8}", 9),
    of_run("of a size of 0", f"01 0002 0000 0003 0004 0004 0000 {'61' * 8}", 9),
    of_run("with less than its sizes say", f"01 0002 0000 0002 0004 0005 {'61' * 8}", 9),
    of_run("with more than its sizes say", f"01 0002 0000 0002 0004 0004 {'61' * 9}", 9),
]


def of_things(name: str, data: str, code: int | None, *beside: str, scope: str = "link") -> Vector:
    """What comes where things are taken, these first."""
    made = error(f"things: {name}", data, code, state="open with things", scope=scope)
    return made | {"beside": [hexed(thing) for thing in beside]}


def not_agreed(name: str, data: str) -> Vector:
    """An option that a side which takes no things knows all the same."""
    return error(f"{name} that were not agreed", data, 9, state="open with runs", scope="link")


THINGS_ERRORS = [
    not_agreed("things", f"1a 84 04 08 02 0001 0001 {E1} 0001"),
    not_agreed("shared memory", f"19 84 03 0a 01 01 0001 {E1} 0001"),
    of_things("one, and one came", f"1a 84 04 08 02 0001 0001 {E1} 0001", None, "01"),
    of_things("two, and one came", f"1a 84 04 08 02 0002 0001 {E1} 0001", 9, "01"),
    of_things("none", f"1a 84 04 08 02 0000 0001 {E1} 0001", 9, scope="format"),
    of_things("65", f"1a 84 04 08 02 0140 0001 {E1} 0001", 9, scope="format"),
    of_things("THINGS of 1 byte", f"19 84 03 08 01 01 0001 {E1} 0001", 9, scope="format"),
    of_things("THINGS of 3 bytes", f"1b 84 05 08 03 000100 0001 {E1} 0001", 9, scope="format"),
    of_things(
        "THINGS twice", f"1e 84 08 08 02 0001 08 02 0001 0001 {E1} 0001", 9, "01", "02", scope="format"
    ),
    of_things("SHARED of no byte", f"18 84 02 0a 00 0001 {E1} 0001", 9, scope="format"),
    of_things("SHARED of 65 bytes", f"59 84 43 0a 41 {'01' * 65} 0001 {E1} 0001", 9, scope="format"),
    of_things("SHARED twice", f"1c 84 06 0a 01 01 0a 01 01 0001 {E1} 0001", 9, "01", scope="format"),
    of_things("SHARED without memory", f"19 84 03 0a 01 01 0001 {E1} 0001", 9),
    of_things("SHARED with bytes", f"1a 84 03 0a 01 01 0001 {E1} 0001 61", 9, "61"),
    of_things("SHARED that does not fit its memory", f"19 84 03 0a 01 02 0001 {E1} 0001", 9, "61"),
    of_things("SHARED and CUT", f"20 84 0a 01 05 00 00000002 0a 01 01 0001 {E1} 0001", 9, "61"),
    of_things("more than a message may have", f"19 84 03 0a 01 01 0001 {E1} 0001", 10, "61" * 65537),
    of_things("on an ERROR they are skipped", "07 e4 03 08 01 01 01 02", None),
    of_things("with nothing that names them", "02 04 01", None, *["01"] * 317),
    of_things("too many with nothing that names them", "02 04 01", 14, *["01"] * 318),
]

ERRORS = {
    "about": "docs/protocol.md section 8: what node B sends to node A (states: setup.json), and how it ends",
    "vectors": [
        *FRAMING_ERRORS,
        *HELLO_ERRORS,
        *STATE_ERRORS,
        *CONTROL_ERRORS,
        *LEAF_ERRORS,
        *MESSAGE_ERRORS,
        *OPTION_ERRORS,
        *CUT_ERRORS,
        *SIGNAL_ERRORS,
        *RUN_ERRORS,
        *THINGS_ERRORS,
    ],
}
