"""busway.errors: sentences, numbers, and that every error survives a trip to another process."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from busway import errors
from busway.adapters.results import error_of
from busway.cli.failures import as_options
from busway.protocol import events
from busway.protocol.wire.codes import REASON_NAMES

SAMPLES = [
    errors.BusError("plain"),
    errors.Undeliverable(1),
    errors.Undeliverable(300, "the tank is empty"),
    errors.Undeliverable(1, endpoint="lab/pump"),
    errors.RemoteError(64, "ValueError: no"),
    errors.RemoteError(300),
    errors.RemoteError._received(90, "from a later version"),
    errors.RequestTimeout(),
    errors.RequestTimeout("late"),
    errors.BusClosed(),
    errors.EndpointTaken(),
    errors.LinkRefused(3, "the bus names differ"),
    errors.LinkRefused(3),
    errors.DeliveryUnknown(),
    errors.MissingLibrary("ws:// links need h11"),
    errors.PayloadError("Reading.celsius: expected float, got str", b"\xa0"),
    errors.UnknownType("not declared", b"\xa0", b"t" * 16),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_errors_pickle_and_speak(error: errors.BusError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert copy.__dict__ == error.__dict__
    assert str(copy) == str(error)
    assert len(str(error)) > 3
    assert isinstance(error, errors.BusError)


def test_the_standard_errors_they_also_are() -> None:
    assert isinstance(errors.RequestTimeout(), TimeoutError)
    assert isinstance(errors.PayloadError("no"), ValueError)
    assert isinstance(errors.UnknownType("no"), errors.PayloadError)


@pytest.mark.parametrize("reason", sorted(REASON_NAMES))
def test_every_reason_has_a_sentence_of_its_own(reason: int) -> None:
    error = errors.Undeliverable(reason)
    assert error.reason == reason
    assert error.reason_name == REASON_NAMES[reason]
    assert "unknown here" not in error.message
    assert str(error) == f"not delivered: {error.message} ({error.reason_name})"


def test_an_unknown_reason_keeps_its_number() -> None:
    assert str(errors.Undeliverable(99)).endswith("(REASON_99)")
    assert errors.RemoteError(300, "the tank is empty").code == 300


def test_it_says_to_whom() -> None:
    error = errors.Undeliverable(3, endpoint="lab/pump")
    assert error.endpoint == "lab/pump"
    assert str(error) == "not delivered to lab/pump: the deadline passed first (EXPIRED)"


def test_a_payload_is_kept_but_not_shown() -> None:
    error = errors.PayloadError("broken", b"secret")
    assert error.payload == b"secret"
    assert error.reason == "broken"
    assert "secret" not in repr(error) + str(error)


@pytest.mark.parametrize("code", [0, 5, 63, 65, 90, 255, -1, 1 << 32, True, "300", None])
def test_a_code_that_is_not_the_applications_is_refused(code: Any) -> None:
    with pytest.raises(ValueError, match=r"must be 256 to 4294967295 .*, or 64"):
        errors.RemoteError(code, "too fast")


def test_what_comes_from_a_later_version_keeps_its_number() -> None:
    outcome = events.Outcome(1, events.FAILED)
    outcome.code, outcome.text = 90, "too new"
    error = error_of(outcome, "lab/pump")
    assert (type(error), str(error)) == (errors.RemoteError, "too new (error 90)")


@pytest.mark.parametrize(("code", "words"), [(2, "update the older"), (3, "another name"), (7, "boards=")])
def test_link_that_a_board_refuses_without_a_word_is_explained(code: int, words: str) -> None:
    """Boards say the number only."""
    assert words in str(errors.LinkRefused(code))
    assert words not in str(errors.LinkRefused(code, "as the other side says"))


def test_explanation_of_a_command_has_its_options() -> None:
    told = as_options(str(errors.LinkRefused(7)))
    assert "(--token, and for a board with a key of its own --boards)" in told
