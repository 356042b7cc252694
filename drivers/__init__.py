"""Drivers open one sort of link each and move bytes. They know nothing of the protocol."""

__all__: list[str] = []
