"""Checks of what the caller of a node gives: each raises LocalError that says what was expected."""

from busway.protocol.errors import LocalError
from busway.protocol.wire import codes


def check_time(name: str, value: int) -> None:
    """Whole milliseconds, not negative, at most 24 days: fits the wire and a 32-bit board."""
    if not 0 <= value <= 0x7FFFFFFF:
        raise LocalError("%s must be 0 to 2147483647 ms, not %r" % (name, value))


def policy_of(policy: int, kind: int) -> int:
    """The policy of a full queue, as receiving knows it."""
    if not -1 <= policy <= codes.LATEST:
        raise LocalError(
            "policy must be REFUSE, DROP_OLDEST, DROP_NEWEST or LATEST (0 to 3), not %r" % policy
        )
    if kind != codes.BROADCAST:
        if policy == codes.LATEST:
            raise LocalError(
                "policy must be REFUSE, DROP_OLDEST or DROP_NEWEST here: LATEST is for broadcast endpoints"
            )
        return max(policy, codes.REFUSE)
    if policy < 0:
        return codes.DROP_OLDEST
    return codes.DROP_NEWEST if policy == codes.REFUSE else policy


def check_id(name: str, value: bytes) -> None:
    """Whether that may be an id: 16 bytes."""
    if type(value) is not bytes or len(value) != codes.ID_SIZE:
        raise LocalError("%s must be 16 bytes" % name)
