"""Arguments of a bus: what would fail late or with a riddle is refused at once with what was expected, and
users' words become the core's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from busway.adapters.literal import text_of
from busway.errors import BusError
from busway.messages import accepted_types
from busway.protocol import Node, codes, errors
from busway.protocol.wire import traits
from busway.replies import ReplyType, reply_type

LAST_QUEUE = 64  # messages, for who asks for a last value
RETAINED = (1024, 16777216)  # last values that a bus keeps of what it publishes, and their bytes
ANY_NODE = b""
FOR_EVER_S = 2_147_483  # what the core's milliseconds hold: 24 days
WINDOW_MAX = 32_767
TIMEOUT_S = float("30")  # an object of its own: 30.0 that a caller gives is another one
NO_TTL_S = float("0")  # likewise
MOST = 1024  # messages that are taken, or sent, in one go
KINDS = {name: kind for kind, name in enumerate(codes.KIND_NAMES) if name}
REALMS = {name: realm for realm, name in enumerate(codes.REALM_NAMES)}
POLICIES = {
    "refuse": codes.REFUSE,
    "drop_oldest": codes.DROP_OLDEST,
    "drop_newest": codes.DROP_NEWEST,
    "latest": codes.LATEST,
}
# What of `listen` makes a server of named clients (clients.py).
SERVER_OPTIONS = frozenset(
    {"max_connections", "admit", "rate", "on_message", "on_disconnect", "hook_timeout"}
)
PRIORITIES = {name: number for number, name in enumerate(codes.PRIORITY_NAMES)}
# How long a publish waits for a link that is full: a subscriber that reads makes room long before, also on a
# busy machine; one that does not holds the publisher up once, and then misses what it has no room for.
_PUBLISH_PATIENCE_MS = 500


def check_token(token: object) -> None:
    """None or text. Raises TypeError, ValueError, neither of which tells the token itself."""
    if token is None:
        return
    if not isinstance(token, str):
        how = ": write token.decode() or token.hex()" if isinstance(token, (bytes, bytearray)) else ""
        raise TypeError(f"a token is text (str), or None for none; got {type(token).__name__}{how}")
    if not token:
        raise ValueError("token must not be empty: make one with `busway token`, or say None for none")
    if not _is_utf8(token):
        raise ValueError("a token is text in UTF-8, and this one has characters that have no place there")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_label(label: object) -> None:
    """None or text. Raises TypeError, ValueError."""
    if label is not None and not isinstance(label, str):
        raise TypeError(f"a label is text (str), or None for the program's name; got {type(label).__name__}")
    if label is not None and not _is_utf8(label):
        raise ValueError("a label is text in UTF-8, and this one has characters that have no place there")


def check_labels(labels: Any) -> tuple[str, ...]:
    """The labels of endpoints, each once. Raises TypeError, ValueError."""
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise TypeError(f'labels must be several texts, as in labels={{"renderer"}}, not {labels!r}')
    found = tuple(labels)
    if not all(isinstance(label, str) for label in found):
        raise TypeError(f"labels must be texts (str), not {found!r}")
    try:
        return tuple(traits.check_labels(found))
    except errors.LocalError as error:
        raise ValueError(str(error)) from None


def check_whole(name: str, value: object, expected: str) -> None:
    """A whole number; which ones is the core's to say. Raises TypeError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be {expected}, a whole number (int), not {value!r}")


def check_retained(retained: Any) -> tuple[int, int]:
    """The number of last values that are kept, and of bytes in them. Raises TypeError, ValueError."""
    if not isinstance(retained, tuple) or len(retained) != 2:
        raise TypeError(
            f"retained must be (values, bytes), as in retained=(1024, 16777216), not {retained!r}"
        )
    count, size = retained
    check_whole("retained", count, "how many last values may be kept")
    check_whole("retained", size, "how many bytes of last values may be kept")
    if count < 0 or size < 0:
        raise ValueError(f"retained must be two numbers that are not negative, not {retained!r}")
    return count, size


def check_retain(retain: Any, payload: Any, best_effort: Any, sealed: Any) -> None:
    """A last value, as `publish` is told of it. Raises TypeError, ValueError."""
    if retain is not None and retain is not True:
        raise TypeError(f"retain must be True, False, or None to keep it no longer, not {retain!r}")
    if retain is None and payload is not None:
        raise ValueError("retain=None keeps the last value no longer, and takes no payload: leave it out")
    if best_effort is not False:
        raise ValueError("a last value may not get lost: leave best_effort out")
    if sealed is not False:
        raise ValueError("a sealed value is for those who are there: it cannot be retained")


def check_handler(handler: Any) -> None:
    """Something to call with a request. Raises TypeError."""
    if not callable(handler):
        raise TypeError(f"a handler is a function that takes a request, not {handler!r}")


def check_served(endpoint: Any) -> None:
    """An endpoint, not the handler that `@bus.serve` without parentheses hands over. Raises TypeError."""
    if callable(endpoint) and not isinstance(endpoint, type):
        raise TypeError(f'serve takes an endpoint first, as in @bus.serve("lab/pump"), not {endpoint!r}')


def check_stored(ttl: Any) -> None:
    """Raises ValueError for `ttl` of what is published past a store."""
    if ttl:
        raise ValueError("ttl= of publish is for store=True: who is there gets a copy now, or none")


def check_seconds(name: str, value: Any, *, endless: bool = False) -> float:
    """Seconds; with `endless` None stands for as long as it takes. Raises ValueError."""
    if value is None and endless:
        return FOR_EVER_S
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= FOR_EVER_S:  # what is not a number (nan) is in no range
        how = ", or None for as long as it takes" if endless else ""
        raise ValueError(f"{name} must be 0 to {FOR_EVER_S} seconds{how}, not {value!r}")
    return float(value)


def check_flag(name: str, value: object) -> None:
    """True or False. Raises TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")


def check_window(window: Any) -> None:
    """Parts of a reply that may be under way. Raises TypeError, ValueError."""
    check_whole("window", window, "the parts that may be under way")
    if not 1 <= window <= WINDOW_MAX:
        raise ValueError(f"window must be 1 to {WINDOW_MAX} parts, not {window}")


def check_limit(limit: Any) -> int:
    """Handlers that may run at once. Raises TypeError, ValueError."""
    check_whole("limit", limit, "the handlers that may run at once")
    if limit < 1:
        raise ValueError(f"limit must be at least 1 handler, not {limit!r}")
    return int(limit)


def check_most(most: Any) -> None:
    """Messages that are taken in one call. Raises TypeError, ValueError."""
    check_whole("most", most, "the messages to take at once")
    if most < 1:
        raise ValueError(f"most must be at least 1 message, not {most}")


def several(payloads: Any) -> list[Any]:
    """Payloads to be sent in one call. Raises TypeError."""
    if isinstance(payloads, (bytes, bytearray, memoryview, str, Mapping)) or not isinstance(
        payloads, Iterable
    ):
        raise TypeError(
            f"payloads must be several, as in a list; of one write [payload], not {payloads!r:.80}"
        )
    return list(payloads)


def check_node_id(node_id: object) -> None:
    """None or 16 bytes. Raises TypeError, ValueError."""
    if node_id is None:
        return
    if not isinstance(node_id, bytes):
        raise TypeError(f"node_id must be 16 bytes, or None for random ones, not {node_id!r}")
    if len(node_id) != 16:
        raise ValueError(f"node_id must be 16 bytes, or None for random ones, not {len(node_id)}")


def check_limits(limits: object, kind: type) -> None:
    """None or of this class. Raises TypeError."""
    if limits is not None and not isinstance(limits, kind):
        raise TypeError(f"limits must be a busway.Limits, not {limits!r}")


def check_node(node: Any) -> bytes:
    """A node's id; b"" or None for any node. Raises ValueError."""
    if node is None or node is ANY_NODE:
        return ANY_NODE
    if not isinstance(node, bytes) or len(node) != 16:
        raise ValueError(f"node must be a node's id, 16 bytes, as in NodeInfo.id; not {node!r}")
    return node


def choice(name: str, value: str, table: dict[str, int]) -> int:
    """A word of users' as the core's number. Raises ValueError with those there are."""
    try:
        return table[value]
    except (KeyError, TypeError):
        raise ValueError(f"{name} must be one of {', '.join(table)}, not {value!r}") from None


def priority_of(priority: str) -> int:
    """A priority as the core's number. Raises ValueError with those there are."""
    return codes.NORMAL if priority == "normal" else choice("priority", priority, PRIORITIES)


def milliseconds(name: str, value: float | None, *, endless: bool = False) -> int:
    """Seconds as users give them to the core's whole milliseconds, never rounded down to 0; with `endless`
    None is as long as it takes, which are 24 days. Raises TypeError, ValueError.
    """
    return math.ceil(check_seconds(name, value, endless=endless) * 1000)


def timeout_ms(timeout: float | None) -> int:
    """A call's `timeout` in the core's milliseconds."""
    return milliseconds("timeout", timeout, endless=True)


def send_timeout_ms(timeout: float | None, confirm: bool) -> int | None:
    """As `timeout_ms`; None, no limit, for a plain send that was given none."""
    if not confirm and (timeout is None or timeout is TIMEOUT_S):
        return None
    return timeout_ms(timeout)


def patience_ms(wait: bool, best_effort: bool) -> int:
    """The time that a publish waits for links that are full; -1: as long as it takes. Raises TypeError."""
    if wait is False and best_effort is False:
        return _PUBLISH_PATIENCE_MS
    check_flag("wait", wait)
    check_flag("best_effort", best_effort)
    return -1 if wait else _PUBLISH_PATIENCE_MS


def types_of(endpoint: Any, types: Any) -> tuple[type, ...] | None:
    """The types that a receiver accepts; a message class as endpoint declares its own. Raises TypeError."""
    if types is None:
        return accepted_types((endpoint,)) if isinstance(endpoint, type) else None
    return accepted_types(types if isinstance(types, (tuple, list, set, frozenset)) else (types,))


def wanted_reply(reply: Any) -> ReplyType | None:
    """The type that `reply=` names; None for anything. Raises TypeError."""
    return None if reply is None else reply_type(reply)


def for_users(error: errors.LocalError) -> Exception:
    """Misuse as users know it: bad arguments are ValueErrors."""
    return BusError(str(error)) if isinstance(error, errors.FullError) else ValueError(str(error))


def realm_here(node: Node, endpoint: bytes, realm: Any) -> Any:
    """The realm that a program which asks for a last value subscribes with: that of its subscription, if it
    has one.
    """
    known = node.receiving.endpoints.get(endpoint)
    return realm if known is None else codes.REALM_NAMES[known.realm]


def no_last(to: Any, timeout: float | None) -> TimeoutError:
    """Nothing came to who asked for a last value."""
    return TimeoutError(f"no last value of {text_of(to)} came within {timeout:g} s")
