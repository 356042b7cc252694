"""A client of the bus by somebody else, written from docs/protocol.md alone. Imports nothing of busway."""
