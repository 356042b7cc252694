"""A store's state in NATS JetStream."""

from __future__ import annotations

from busway.errors import BusError


class JetStreamBackend:
    """Not there yet."""

    def __init__(self, place: str) -> None:
        raise BusError(f"{place}: stores at NATS come with the next version")
