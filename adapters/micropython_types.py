"""Message types on boards, as `@busway.message` declares them: what is sent says its type.

Loaded by boards that use it. Knows payloads, not who gets them.
"""

from busway.adapters.micropython_cbor import dumps
from busway.adapters.micropython_names import uuid_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class MessageType:
    """A message type of the bus.

    Args: `name` as in `@busway.message(name=...)`, or the 16 bytes of its uuid; `fields` their names. Called
    with values it makes a message; it stands for the endpoint as well: `loop.publish(Reading.uuid, ...)`.
    """

    def __init__(self, name: "str | bytes", *fields: str) -> None:
        self.uuid = uuid_of(name)
        self.fields = fields

    def __call__(self, **values: "Any") -> "Typed":
        """A message, to be sent, published or returned. Raises TypeError for a field that it has not."""
        for field in values:
            if field not in self.fields:
                raise TypeError("this type has no field %s, but %s" % (field, ", ".join(self.fields)))
        return Typed(self.uuid, values)

    def read(self, value: "Any") -> "Any":
        """The fields of what came, in their order. Raises ValueError where one is missing."""
        if not isinstance(value, dict) or [field for field in self.fields if field not in value]:
            raise ValueError("expected a map with " + ", ".join(self.fields))
        return [value[field] for field in self.fields]


class Typed:
    """A message of a type: what `Loop` sends so."""

    def __init__(self, uuid: bytes, values: "dict[str, Any]") -> None:
        self.uuid = uuid
        self.values = values

    def typed(self) -> "tuple[bytes, bytes]":
        """Its bytes, and its type."""
        return dumps(self.values), self.uuid
