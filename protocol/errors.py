"""Errors that the core raises for misuse by its caller; such an error changes no state. Bytes from a peer
never raise.
"""


class LocalError(ValueError):
    """The caller asked for something that cannot be: the text says what was expected.

    A ValueError, because that is what people expect of bad arguments.
    """


class EndpointTakenError(LocalError):
    """The name is held already, by this node or by another one that this node can see."""


class WrongKindError(LocalError):
    """`send` or `request` to a broadcast endpoint, or `publish` to one that is not."""


class FullError(LocalError):
    """There is no credit or room now and the caller asked not to wait, or too much is waiting already."""


class ClosedError(LocalError):
    """The node or the receiver has been closed."""


class Refusal(Exception):
    """Internal: the peer broke the protocol. Never leaves `receive_data`; it becomes a CLOSE with this
    code.
    """

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
