"""Payloads to values, outcomes to values or exceptions, and what a handler gave or raised to an answer."""

from __future__ import annotations

from typing import Any, cast

from busway.adapters.failures import describe
from busway.adapters.literal import name_of, text_of
from busway.adapters.records import Undelivered
from busway.errors import (
    BusClosed,
    BusError,
    DeliveryUnknown,
    PayloadError,
    RemoteError,
    RequestTimeout,
    Undeliverable,
    UnknownType,
)
from busway.names import ascii_safe
from busway.payloads import SEALED, TYPED, decode
from busway.protocol import Message, Node, Receiver, Request, codes, events
from busway.protocol.messaging.viewed import ViewedMessage
from busway.replies import ReplyType

NO_ANSWERS = (
    "this endpoint takes messages and answers no requests: its program made it with register, not serve"
)


def decode_message(message: Message, accept: tuple[type, ...] | None) -> bool:
    """Make a message's payload its value; an error goes to `message.error`. False: an unknown type, skip."""
    if message.format == codes.OBJECT or (message.format == codes.RAW and accept is None):
        return True
    payload = message.payload if not isinstance(message, ViewedMessage) else message.view
    assert isinstance(payload, (bytes, memoryview))
    try:
        message.payload = decode(payload, message.format, message.type_id, message.endpoint, accept)
    except UnknownType:
        return False
    except PayloadError as error:
        message.error = error
    return True


def decode_outcome(outcome: events.Outcome, wanted: ReplyType | None, to: Any) -> Any:
    """The value of a reply or part of that endpoint, of the type that is wanted. Raises PayloadError."""
    try:
        return _decode_outcome(outcome, wanted)
    except PayloadError as error:
        raise PayloadError(f"the reply of {text_of(to)}: {error.reason}", error.payload) from error


def _decode_outcome(outcome: events.Outcome, wanted: ReplyType | None) -> Any:
    payload = outcome.payload
    if wanted is not None:
        if outcome.format == codes.OBJECT:
            return wanted.check(payload)
        return wanted.decode(cast(bytes, payload), outcome.format, outcome.type_id)
    if outcome.format in (codes.RAW, codes.OBJECT) or not isinstance(payload, (bytes, memoryview)):
        return payload
    return decode(payload, outcome.format, outcome.type_id, b"", None)


def replied(outcome: events.Outcome, wanted: ReplyType | None, to: Any) -> Any:
    """The value of a request's only reply; raises what became of it instead."""
    if outcome.status != events.REPLIED:
        raise error_of(outcome, to)
    return decode_outcome(outcome, wanted, to)


def error_of(outcome: events.Outcome, to: Any) -> BusError:
    """The exception for the outcome, which is no success, of a message to that endpoint."""
    status = outcome.status
    if status == events.FAILED:
        return RemoteError._received(outcome.code, outcome.text)
    if status == events.TIMED_OUT:
        return RequestTimeout(f"{text_of(to)}: {RequestTimeout()}")
    if outcome.code == codes.BUS_CLOSED and not outcome.text:
        return BusClosed()
    if status == events.UNKNOWN:
        return DeliveryUnknown(f"{text_of(to)}: {DeliveryUnknown()}")
    return Undeliverable(outcome.code, outcome.text or _nobody_meant(outcome.code, to), text_of(to))


def _nobody_meant(reason: int, to: Any) -> str:
    """The sentence of a selector that nobody is meant by; "" of anything else."""
    from busway.selectors import Selector

    if reason != codes.NO_ENDPOINT or not isinstance(to, Selector):
        return ""
    return (
        "this selector means nobody within reach, or a policy hides them; `busway endpoints` lists what"
        " there is, with its labels; ttl= waits for the first"
    )


def undelivered(node: Node, event: events.UndeliverableEvent) -> Undelivered:
    """A message that was lost later, as users see it."""
    peer = node.me if event.node_id == node.node_id else node.routes.peers.get(event.node_id)
    label = "" if peer is None else peer.label
    return Undelivered(event.endpoint, name_of(event.endpoint), event.node_id, label, event.seq, event.reason)


def wants_answer(message: Message) -> Request | None:
    """The request that a message is; None for one that nobody waits for."""
    return message if isinstance(message, Request) and not message.confirm else None


def unreadable(core: Receiver, error: PayloadError) -> tuple[str, PayloadError]:
    """Log words for a message that its handler does not get. Parts of the message may be in the text."""
    name = ascii_safe(core.endpoint.name or core.endpoint.uuid.hex())
    return f"reading a message for {name}", PayloadError(ascii_safe(error.reason))


def answer_unreadable(node: Node, message: Message, now: int) -> None:
    """Tell who asked that the handler cannot read it."""
    if asked := wants_answer(message):
        why = str(message.error) if message.error else "a message type that this handler does not know"
        answer_error(node, asked, codes.UNREADABLE, why, now)


def answer_failure(node: Node, message: Message, error: BaseException, now: int) -> None:
    """Tell who asked what the handler raised."""
    if isinstance(error, RemoteError):  # codes below are the bus's own
        own = isinstance(error.code, int) and codes.HANDLER_FAILED <= error.code <= 0xFFFFFFFF
        answer_error(node, message, error.code if own else codes.HANDLER_FAILED, error.message, now)
    else:
        answer_error(node, message, codes.HANDLER_FAILED, describe(error), now)


def answer_error(node: Node, message: Message, code: int, text: str, now: int) -> None:
    """Answer with an error; parts that wait for the reader are thrown away."""
    if asked := wants_answer(message):
        if asked.stream is not None:
            node.receiving.abandon_parts(asked.stream)
        try:
            text = str(text)
        except Exception:  # noqa: BLE001 - a RemoteError may be given anything, whose text may fail
            text = "the error's text cannot be shown"
        # The text of an exception may hold what UTF-8 does not carry, such as a file's name.
        text = text.encode(errors="backslashreplace").decode()
        seal = getattr(asked, "seal", None)
        if seal is not None:  # what it says may come from what was sealed
            node.respond(asked, seal.error(code, text), now, TYPED, SEALED)
        else:
            node.respond_error(asked, code, text, now)
