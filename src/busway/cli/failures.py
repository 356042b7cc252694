"""Exit statuses, and errors as the command line tells them. Knows no command."""

from __future__ import annotations

import errno
import os
import re

OK = 0
NEGATIVE = 1
USAGE = 2
UNKNOWN = 3
NO_BUS = 4
MISSING = 5
INTERRUPTED = 130
BROKEN_PIPE = 141

STATUSES = """\
  0    it worked; also what runs until it is interrupted, when it is
  1    a negative answer: nobody has the endpoint, the handler failed,
       the message was not taken
  2    wrong usage
  3    no answer in time, or what became of it is unknown
  4    the bus cannot be joined, or a link was refused
  5    a library that this needs is not installed
  130  interrupted by Ctrl-C (143: by SIGTERM)
  141  whoever read the output is gone"""


_NAMES = {USAGE: "USAGE", UNKNOWN: "TIMEOUT", NO_BUS: "NO_BUS", MISSING: "MISSING_LIBRARY"}

# What the library calls its arguments, and what they are called here.
_OPTIONS = {
    # Of docs/protocol.md, error 25; no command that opens a link is a leaf.
    "join with leaf=True, or have routers let in (": (
        "this command is no leaf; have it let in there as a router ("
    ),
    "trust=... (of the bus)": "--trust FILE",
    "(key=..., --key FILE)": "(--key FILE)",
    "token=...": "--token-file FILE",
    "token=": "--token",
    "boards=": "--boards",
    "open=True": "--open",
    "weak=True": "--weak",
    "routers=True": "--routers",
    "certificate=": "--certificate",
    "key=": "--certificate-key",
    "cafile=": "--cafile",
    "proxy=": "--proxy ",
    "headers=": "--header",
}

_SILENT = "; is its address right, and does a firewall let its port pass?"
# What it may mean that a place cannot be reached, by its reason.
_HINTS = {
    os.strerror(errno.ECONNREFUSED): "; is {who} there?",
    os.strerror(errno.EHOSTUNREACH): "; is that machine on, and its address right?",
    os.strerror(errno.ENETUNREACH): "; has this machine a network that leads there?",
    os.strerror(errno.ETIMEDOUT): _SILENT,
    "no answer within ": _SILENT,
    "nobody answers on the line": (
        "; are the wires crossed (TX to RX), both ends' baud the same, and does a program run there?"
    ),
}

REFUSAL = re.compile(r"\(error (\d+)\)$")  # of str(LinkRefused)


class Failure(Exception):
    """A command ends with `status` and one line: what happened and what to do.

    `name` is for scripts, as in NO_ENDPOINT.
    """

    def __init__(self, status: int, message: str, name: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.name = name or _NAMES.get(status, "FAILED")


def as_options(text: str) -> str:
    """An error of the library with the options of the command line in place of arguments."""
    for argument, option in _OPTIONS.items():
        text = text.replace(argument, option)
    return text


def cannot_listen(url: str, error: Exception) -> Failure:
    """Why there is no listener: what `listen` raised."""
    from busway import errors

    if isinstance(error, errors.MissingLibrary):
        return Failure(MISSING, str(error))
    text = (error.strerror if isinstance(error, OSError) else "") or str(error)
    text = text.removeprefix(f"cannot listen on {url}: ")
    return Failure(NO_BUS, f"cannot listen at {url}: {as_options(text)}")


def cannot_connect(url: str, error: Exception) -> Failure:
    """Why there is no link: what `connect` raised."""
    from busway import errors

    if isinstance(error, errors.LinkRefused):
        return Failure(NO_BUS, f"{url}: {as_options(str(error))}", "LINK_REFUSED")
    if not isinstance(error, OSError):
        sort = MISSING if isinstance(error, errors.MissingLibrary) else USAGE
        return Failure(sort, as_options(str(error)))
    text = as_options(error.strerror or str(error))
    return Failure(NO_BUS, with_remedy(text if url in text else f"{url}: {text}"))


def with_remedy(text: str, who: str = "a node listening") -> str:
    """Why a place cannot be reached, and where nobody takes connections what that may mean."""
    hints = [hint for reason, hint in _HINTS.items() if reason in text]
    return text + (hints[0].format(who=who) if hints else "")


def failure_of(error: BaseException) -> Failure | None:
    """An error of the bus as a Failure; None for one that is a defect of ours."""
    from busway import errors

    if isinstance(error, Failure):
        return error
    if isinstance(error, errors.Undeliverable):
        return Failure(NEGATIVE, str(error), error.reason_name)
    if isinstance(error, errors.RemoteError):
        return Failure(NEGATIVE, str(error), f"REMOTE_{error.code}")
    if isinstance(error, (errors.RequestTimeout, errors.DeliveryUnknown)):
        name = "TIMEOUT" if isinstance(error, errors.RequestTimeout) else "UNKNOWN"
        return Failure(UNKNOWN, str(error), name)
    if isinstance(error, errors.EndpointTaken):
        return Failure(NEGATIVE, str(error), "ENDPOINT_TAKEN")
    if isinstance(error, errors.LinkRefused):
        return Failure(NO_BUS, str(error), "LINK_REFUSED")
    if isinstance(error, errors.MissingLibrary):
        return Failure(MISSING, str(error), "MISSING_LIBRARY")
    if isinstance(error, errors.PayloadError):
        return Failure(NEGATIVE, f"the reply cannot be read: {error}", "UNREADABLE")
    if isinstance(error, (errors.BusError, OSError)):
        return Failure(NEGATIVE, str(error), getattr(error, "reason_name", ""))
    return None
