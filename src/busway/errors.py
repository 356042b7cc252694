"""The errors that users of Busway catch. Knows the numbers of docs/protocol.md section 8 only."""

from __future__ import annotations

from typing import Any

from busway.names import ascii_safe

# What each reason means to the sender and what can be done about it. Numbers: docs/protocol.md section 8.
# Of links that ended without a sentence, as boards end them: theirs take no memory for any.
_LINK_SENTENCES = {
    2: "the other side speaks another version of the protocol; update the older of both",
    3: "the other side is of a bus of another name; give both the same",
    7: (
        "the other side has a token or key that this one has not, or another; give both the same (token=, and"
        " for a board with a key of its own boards=)"
    ),
}

_REASON_SENTENCES = {
    1: (
        "nobody has that endpoint within reach, or a policy hides it; `busway doctor` may say; check name and"
        " realm=, or give ttl= to wait for it to appear"
    ),
    2: "the receiver's queue was full and its policy refuses; send slower or enlarge its queue",
    3: "the deadline passed first",
    4: "no way leads there: the node or a link is gone, or not there yet; ttl= waits for it",
    5: "the receiver closed before it took the message",
    6: "the message exceeds a size limit on its way; send it in smaller pieces",
    7: "the endpoint is of another kind; use publish for broadcast, send or request for the others",
    8: "the receiver's queue policy dropped it for another message",
    9: "the payload does not fit what the receiver declared",
    10: "its handler answers in parts; use request_stream",
    11: "a part of the streaming reply is missing",
    12: "the receiver's node is closing",
    13: "the link was lost after the request was written; it may have run",
    14: "a later message came first, on another way: send it again if it still matters",
    15: "the policy of the receiver's program does not allow it; its `busway policy explain` says why",
    16: 'a node on the way knows no priorities; send it with priority="normal"',
    17: (
        "files and regions go to programs of the same user on this machine only, over Unix sockets all the"
        " way, and to no page, board or Node program; send what is in them instead"
    ),
    18: "as many files and regions wait at the receiver as may; send slower, or with confirm=True",
    64: "the handler raised an exception",
}


class BusError(Exception):
    """The base of what Busway raises on purpose; bad arguments are ValueError or TypeError as everywhere.

    In `str(error)` what another program wrote is escaped, so that it is one line of a log and steers no
    terminal; attributes such as `message` have it as it came.
    """


class Undeliverable(BusError):
    """A message did not reach a receiver.

    Args:
        reason: number of the reason, as in docs/protocol.md section 8.
        message: a sentence for people; by default the one that goes with the reason.
        endpoint: what it was sent to, as the sender called it; "" if that is not known.
    """

    def __init__(self, reason: int, message: str = "", endpoint: str = "") -> None:
        super().__init__(reason, message, endpoint)
        self.reason = reason
        self.endpoint = endpoint
        self.message = message or _REASON_SENTENCES.get(reason, "the receiver gave a reason unknown here")

    @property
    def reason_name(self) -> str:
        """The reason's name in the protocol, such as NO_ENDPOINT; "REASON_n" for a number unknown here."""
        from busway.protocol.wire.codes import REASON_NAMES

        return REASON_NAMES.get(self.reason, f"REASON_{self.reason}")

    def __str__(self) -> str:
        to = f" to {self.endpoint}" if self.endpoint else ""
        return ascii_safe(f"not delivered{to}: {self.message} ({self.reason_name})")


class RemoteError(BusError):
    """The handler of a request answered with an error.

    Args:
        code: number of the error; from 256 on it is the application's own.
        message: the sentence that came with it.

    Raises:
        ValueError: no code from 256 to 4294967295, nor 64, which says that a handler failed; the others are
            the bus's own.
    """

    def __init__(self, code: int, message: str = "") -> None:
        if not isinstance(code, int) or (code != 64 and not 256 <= code <= 0xFFFFFFFF):
            expected = "256 to 4294967295 (those below are the bus's own), or 64: the handler failed"
            raise ValueError(f"the code of a RemoteError must be {expected}; not {code!r}")
        super().__init__(code, message)
        self._tell(code, message)

    @classmethod
    def _received(cls, code: int, message: str) -> RemoteError:
        """As the other side sent it: a later version may use codes that are reserved now."""
        error = cls.__new__(cls, code, message)
        error._tell(code, message)
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._received, self.args, self.__dict__

    def _tell(self, code: int, message: str) -> None:
        self.code = code
        self.message = message or _REASON_SENTENCES.get(code, "the other side gave no explanation")

    def __str__(self) -> str:
        return ascii_safe(f"{self.message} (error {self.code})")


class RequestTimeout(BusError, TimeoutError):
    """A request had no reply within its timeout; it may have run all the same."""

    def __init__(self, message: str = "no reply within the timeout; the request may have run") -> None:
        super().__init__(message)


class BusClosed(BusError):
    """The bus or the receiver was used after it had been closed."""

    def __init__(self, message: str = "the bus is closed") -> None:
        super().__init__(message)


class EndpointTaken(BusError):
    """A unicast name has its one registrant already, or the name is registered with another kind."""

    def __init__(self, message: str = "the endpoint is held already by another receiver") -> None:
        super().__init__(message)


class MissingLibrary(BusError):
    """A part of Busway needs a library that is not installed; the sentence tells how to install it."""


class KeyFileError(BusError):
    """A key's file is missing, open to others, in use, or holds no key; the sentence tells what to do."""


class SettingsError(BusError):
    """A file of settings cannot be used; the sentence names the file, the line, and what was expected.

    Args:
        path: the file.
        line: the line that is wrong, from 1; 0 if it is not one line's fault.
        message: what is wrong with it.
    """

    sort = "settings file"

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(path, line, message)
        self.path = path
        self.line = line
        self.message = message

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{self.sort} {self.path}: {where}{self.message}"


class TrustFileError(SettingsError):
    """A trust file cannot be used; the sentence names the file, the line, and what was expected.

    Args:
        path: the file.
        line: the line that is wrong, from 1; 0 if it is not one line's fault.
        message: what is wrong with it.
    """

    sort = "trust file"


class PolicyFileError(SettingsError):
    """A policy cannot be used; the sentence names the file, the line, and what was expected.

    Args:
        path: the file; "policy=" for one that a program says itself.
        line: the line that is wrong, from 1; 0 if it is not one line's fault.
        message: what is wrong with it.
    """

    sort = "policy"


class LinkRefused(BusError):
    """A link was refused or ended by either side.

    Args:
        code: number of the link error, as in docs/protocol.md section 8.
        message: the sentence that came with it.
    """

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message or _LINK_SENTENCES.get(code, "the other side gave no explanation")

    def __str__(self) -> str:
        return ascii_safe(f"link refused: {self.message} (error {self.code})")


class DeliveryUnknown(BusError):
    """A confirmed send has no verdict: the link or node was lost after sending, or none came in time."""

    def __init__(self, message: str = "no verdict came; the message may or may not have been taken") -> None:
        super().__init__(message)


class PayloadError(BusError, ValueError):
    """A payload that arrived does not fit: it is no well-formed CBOR, or not what the receiver declared.

    Args:
        reason: the sentence, with the path to the field, as in "Reading.celsius: expected float, got str".
        payload: the bytes as they came, so that a receiver can look.
    """

    def __init__(self, reason: str, payload: bytes = b"") -> None:
        # The payload stays out of args: a traceback or log line must not carry a megabyte of it.
        super().__init__(reason)
        self.reason = reason
        self.payload = payload

    def __str__(self) -> str:
        return ascii_safe(self.reason)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.payload)


class SealError(BusError):
    """A message cannot be sealed for its receiver, or what came was not sealed by the one whom it was asked
    of; the sentence says why, and what to do.
    """


class UnknownType(PayloadError):
    """A message of a type that the receiver did not declare: it is skipped and counted.

    Args:
        reason: the sentence.
        payload: the bytes as they came.
        type_id: the type's UUID, 16 bytes.
    """

    def __init__(self, reason: str, payload: bytes = b"", type_id: bytes = b"") -> None:
        super().__init__(reason, payload)
        self.type_id = type_id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.payload, self.type_id)


class LiteralName(UserWarning):
    """The warning for an endpoint's name that looks like a pattern of other systems, such as "lab/#", and is
    none here.
    """
