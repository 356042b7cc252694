"""Messages of which there is more to say than of others: a name of their own, that they come late."""

from busway.protocol.messaging.endpoints import Message


class MarkedMessage(Message):
    """One of which there is more to say than of others: they pay nothing for that."""

    __slots__ = ("_last_word", "_name", "_retained")

    def mark(self, name: str, retained: bool = False, last_word: bool = False) -> None:
        """Say it; `name` "": the endpoint's own."""
        self._name = name
        self._retained = retained
        self._last_word = last_word

    @property
    def name(self) -> str:
        return self._name or self.flow.endpoint.name

    @property
    def retained(self) -> bool:
        return self._retained

    @property
    def last_word(self) -> bool:
        return self._last_word

    def copy(self) -> "MarkedMessage":
        """The same, for another receiver."""
        copy = MarkedMessage(
            self.flow, self.seq, self.payload, self.format, self.type_id, self.missed, self.arrived
        )
        copy.mark(self._name, self._retained, self._last_word)
        return copy
