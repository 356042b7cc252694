"""Bytes that end a link, or just do not, and with which error. May not import busway."""

from tests.vectors.pieces import (
    DEFAULT,
    E1,
    HELLO_B,
    HELLO_B_TOKEN,
    IDS_B,
    INCARNATION_A,
    INCARNATION_B,
    LIMITS,
    MAGIC,
    NODE_A,
    NONCE_B,
    PROOF_A,
    PROOF_B,
    SEND_BINDS,
    T1,
    Vector,
    error,
)


def greeting(name: str, data: str, code: int | None, *, scope: str = "format") -> Vector:
    return error(name, data, code, state="greeting", scope=scope)


def hello_with(name: str, body: str, code: int | None, length: str = "3a", scope: str = "format") -> Vector:
    return greeting(f"HELLO {name}", f"{length} 01 {body}", code, scope=scope)


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
    error("the first must-know head without a meaning", "01 08", 12),
    error("head 0x40 is skipped", "01 40", None),
    error("head 0x50 is skipped", "03 50 0102", None),
    error("bytes after CLOSE are not read", "02 03 00 ffffffffffffffff", None),
]

HELLO_ERRORS = [
    hello_with("of another protocol", f"42535758 01 0a {IDS_B} {LIMITS} {TAIL}", 1),
    hello_with("cut in the magic", "425357", 1, "04"),
    hello_with("with nothing behind its head", "", 1, "01"),
    hello_with("of version 2", f"{MAGIC} 02 0a {IDS_B} {LIMITS} {TAIL}", 2),
    hello_with("of version 2 with another layout", f"{MAGIC} 02", 2, "06"),
    hello_with("of version 0", f"{MAGIC} 00 0a {IDS_B} {LIMITS} {TAIL}", 2),
    hello_with("cut after the magic", f"{MAGIC}", 9, "05"),
    hello_with("cut after the version", f"{MAGIC} 01", 9, "06"),
    hello_with("cut in the node", f"{MAGIC} 01 0a 1011", 9, "09"),
    hello_with("cut in the limits", f"{MAGIC} 01 0a {IDS_B} 00 80", 9, "25"),
    hello_with("without via", f"{MAGIC} 01 0a {IDS_B} {LIMITS} {DEFAULT} 01 62", 9, "36"),
    hello_with("with via cut", f"{MAGIC} 01 0a {IDS_B} {LIMITS} {DEFAULT} 01 62 03 6970", 9, "39"),
    hello_with(
        "with a label of 65 bytes", f"{MAGIC} 01 0a {IDS_B} {LIMITS} {DEFAULT} 41 {'6c' * 65} 00", 9, "77"
    ),
    hello_with(
        "with a label that is not UTF-8", f"{MAGIC} 01 0a {IDS_B} {LIMITS} {DEFAULT} 01 ff 03 697063", 9, "3a"
    ),
    hello_with("with an option cut in its header", f"{MAGIC} 01 0a {IDS_B} {LIMITS} {TAIL} 05", 9, "3b"),
    hello_with("with an option cut in its value", f"{MAGIC} 01 0a {IDS_B} {LIMITS} {TAIL} 05 02 aa", 9, "3d"),
    hello_with(
        "with a limit of six bytes", f"{MAGIC} 01 0a {IDS_B} 00 808080808001 808004 7f 04 00 {TAIL}", 9, "3e"
    ),
    hello_with("with realm 0", f"{MAGIC} 01 08 {IDS_B} {LIMITS} {TAIL}", 9),
    hello_with(
        "of another bus", f"{MAGIC} 01 0a {IDS_B} {LIMITS} 05 6f74686572 01 62 03 697063", 3, "38", "link"
    ),
    hello_with(
        "of a bus that differs in case",
        f"{MAGIC} 01 0a {IDS_B} {LIMITS} 07 44656661756c74 01 62 03 697063",
        3,
        "3a",
        "link",
    ),
    hello_with(
        "of ourselves", f"{MAGIC} 01 0a {NODE_A} {INCARNATION_A} {NONCE_B} {LIMITS} {TAIL}", 4, "3a", "link"
    ),
    hello_with(
        "of our node id in another incarnation",
        f"{MAGIC} 01 0a {NODE_A} {INCARNATION_B} {NONCE_B} {LIMITS} {TAIL}",
        None,
        "3a",
        "link",
    ),
    hello_with("with frames of 127", f"{MAGIC} 01 0a {IDS_B} 00 7f 808004 7f 04 00 {TAIL}", 8, "39", "link"),
    hello_with(
        "with frames of 128", f"{MAGIC} 01 0a {IDS_B} 00 8001 808004 7f 04 00 {TAIL}", None, "3a", "link"
    ),
    hello_with("without aliases", f"{MAGIC} 01 0a {IDS_B} 00 8020 808004 00 04 00 {TAIL}", 8, "3a", "link"),
    hello_with("without partials", f"{MAGIC} 01 0a {IDS_B} 00 8020 808004 7f 00 00 {TAIL}", 8, "3a", "link"),
    hello_with(
        "of another bus with a limit too low and an option cut",
        f"{MAGIC} 01 0a {IDS_B} 00 7f 808004 7f 04 00 05 6f74686572 01 62 03 697063 05",
        9,
        "38",
    ),
    hello_with(
        "of another bus with a limit too low",
        f"{MAGIC} 01 0a {IDS_B} 00 7f 808004 7f 04 00 05 6f74686572 01 62 03 697063",
        3,
        "37",
        "link",
    ),
    hello_with(
        "of ourselves with a limit too low",
        f"{MAGIC} 01 0a {NODE_A} {INCARNATION_A} {NONCE_B} 00 7f 808004 7f 04 00 {TAIL}",
        4,
        "39",
        "link",
    ),
    greeting("a web browser", "47 45" + "54202f20485454502f312e310d0a" * 5, 1, scope="link"),
    greeting("a must-know frame that nobody knows, before HELLO", "01 20", 1, scope="link"),
    greeting("an ignorable frame before HELLO", "01 50", 1, scope="link"),
    greeting("head 0x00 before HELLO", "01 00", 1, scope="link"),
]

STATE_ERRORS = [
    greeting("AUTH before HELLO", f"21 02 {PROOF_B}", 13, scope="link"),
    greeting("PING before HELLO", "02 04 01", 13, scope="link"),
    greeting("PONG before HELLO", "02 05 01", 13, scope="link"),
    greeting("DIRECTORY before HELLO", "02 06 01", 13, scope="link"),
    greeting("MORE before HELLO", "03 07 00 61", 13, scope="link"),
    greeting("SEND before HELLO", SEND_BINDS, 13, scope="link"),
    error("a second HELLO", HELLO_B, 13, scope="link"),
    error("AUTH on an open link", f"21 02 {PROOF_B}", 13, scope="link"),
    error("HELLO for AUTH", HELLO_B_TOKEN, 13, state="authenticating", scope="link"),
    error("PING for AUTH", "02 04 01", 13, state="authenticating", scope="link"),
    error("PONG for AUTH", "02 05 01", 13, state="authenticating", scope="link"),
    error("DIRECTORY for AUTH", "02 06 01", 13, state="authenticating", scope="link"),
    error("MORE for AUTH", "03 07 00 61", 13, state="authenticating", scope="link"),
    error("SEND for AUTH", SEND_BINDS, 13, state="authenticating", scope="link"),
    error("the right proof", f"21 02 {PROOF_B}", None, state="authenticating", scope="link"),
    error("our own proof sent back", f"21 02 {PROOF_A}", 7, state="authenticating", scope="link"),
    error("a wrong proof", f"21 02 {PROOF_B[:-2]}d3", 7, state="authenticating", scope="link"),
    error("a proof of 31 bytes", f"20 02 {PROOF_B[:-2]}", 9, state="authenticating"),
    error("a proof of 33 bytes", f"22 02 {PROOF_B} 00", 9, state="authenticating"),
    error("an unknown must-know frame for AUTH", "01 20", 12, state="authenticating"),
    error("an ignorable frame for AUTH", "01 50", None, state="authenticating"),
    error("AUTH twice", f"21 02 {PROOF_B} 21 02 {PROOF_B}", 13, state="authenticating", scope="link"),
]

CONTROL_ERRORS = [
    error("CLOSE without a code", "01 03", 9),
    error("CLOSE with a code cut", "02 03 80", 9),
    error("PING without a token", "01 04", 9),
    error("PING with a byte too many", "03 04 01 00", 9),
    error("PING with a token of more than 32 bits", "06 04 8080808010", 9),
    error("PONG without a token", "01 05", 9),
    error("PONG with a byte too many", "03 05 01 00", 9),
    error("DIRECTORY without flags", "01 06", 9),
    error("DIRECTORY with an entry cut in its uuid", "04 06 01 05 e1", 9),
    error("DIRECTORY with only the head of an entry", "03 06 01 05", 9),
    error("DIRECTORY entry without the credit it promises", f"13 06 01 15 {E1}", 9),
    error("DIRECTORY entry without the cost it promises", f"13 06 01 25 {E1}", 9),
    error("DIRECTORY entry without the name it promises", f"13 06 01 45 {E1}", 9),
    error("DIRECTORY entry with its name cut", f"15 06 01 45 {E1} 02 61", 9),
    error("DIRECTORY entry with a name of 65 bytes", f"55 06 01 45 {E1} 41 {'6e' * 65}", 9),
    error("DIRECTORY entry with a name that is not UTF-8", f"15 06 01 45 {E1} 01 c3", 9),
    error("DIRECTORY entry with realm 0", f"13 06 01 01 {E1}", 9),
    error("DIRECTORY withdrawal with bits of what it has not", f"13 06 01 7c {E1}", None),
    error("DIRECTORY withdrawal with bit 7 set", f"13 06 01 80 {E1}", 9),
    error("DIRECTORY entry with bit 7 set", f"13 06 01 85 {E1}", 9),
    error("MORE without a partial", "01 07", 9),
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
    error("SEND in transit", f"14 88 0001 {E1} 0001", 9),
    error("SIGNAL in transit", "03 f8 01 05", 9),
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
    error("an unknown option twice", "07 c4 04 09 00 09 00 01", None),
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

ERRORS = {
    "about": "docs/protocol.md section 8: what node B sends to node A (states: setup.json), and how it ends",
    "vectors": [
        *FRAMING_ERRORS,
        *HELLO_ERRORS,
        *STATE_ERRORS,
        *CONTROL_ERRORS,
        *MESSAGE_ERRORS,
        *OPTION_ERRORS,
        *CUT_ERRORS,
        *SIGNAL_ERRORS,
    ],
}
