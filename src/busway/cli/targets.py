"""Objects for `busway host`: MODULE:NAME becomes one, or a sentence that says what is wrong with it."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from typing import Any, NamedTuple

import click

from busway.cli import failures
from busway.cli.failures import Failure


class Target(NamedTuple):
    """A class, a function that makes an object, or an object; and the arguments for the first two."""

    text: str
    found: Any
    arguments: dict[str, Any]

    def made(self) -> Any:
        """The object, or what makes one for each life, for `bus.host`. Raises what a function raises."""
        if isinstance(self.found, type):
            return functools.partial(self.found, **self.arguments) if self.arguments else self.found
        return self.found(**self.arguments) if inspect.isroutine(self.found) else self.found


def given_as(words: tuple[str, ...]) -> dict[str, Any]:
    """Arguments as they are typed: NAME=VALUE, the value in JSON, or text. Raises UsageError."""
    given: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise click.UsageError(f"{word!r} is no argument: give NAME=VALUE, as in pin=4")
        if name in given:
            raise click.UsageError(f"{name} is given twice")
        try:
            given[name] = json.loads(value)
        except ValueError:
            given[name] = value
    return given


def target_of(text: str, arguments: dict[str, Any]) -> Target:
    """The object that MODULE:NAME means. Raises Failure, UsageError."""
    place, colon, name = text.partition(":")
    if place.endswith(".py"):
        module = place.removesuffix(".py").replace(os.sep, ".")
        raise click.UsageError(f"{text!r} is no MODULE:NAME: name the module, not its file: {module}:{name}")
    if not colon or not all(part.isidentifier() for part in (*place.split("."), *name.split("."))):
        raise click.UsageError(f"{text!r} is no MODULE:NAME: write it as in lab.pumps:Pump")
    found: Any = _module(place)
    for part in name.split("."):
        if not hasattr(found, part):
            raise _no_such(text, found, part)
        found = getattr(found, part)
    _check_arguments(text, found, arguments)
    return Target(text, found, arguments)


def _module(name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            text = f"there is no module {error.name!r}, neither in {here} nor installed"
            raise Failure(failures.USAGE, text, "NO_MODULE") from None
        raise _broken(name, error) from error
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> Failure:
    """The line of the program that does not let itself be imported."""
    if isinstance(error, SyntaxError):
        file, line = error.filename, error.lineno
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        file, line = last.filename, last.lineno
    where = os.path.relpath(file) if file else "?"
    text = f"module {name} cannot be imported: {where} line {line}: {type(error).__name__}: {error}"
    return Failure(failures.USAGE, " ".join(text.split()), "BAD_MODULE")


def _no_such(text: str, found: Any, part: str) -> Failure:
    of = getattr(found, "__qualname__", None) or found.__name__
    named = [name for name in dir(found) if not name.startswith("_")]
    similar = difflib.get_close_matches(part, named, n=3)
    hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
    return Failure(failures.USAGE, f"{text}: {of} has no {part!r}{hint}", "NO_NAME")


def _check_arguments(text: str, found: Any, arguments: dict[str, Any]) -> None:
    if not isinstance(found, type) and not inspect.isroutine(found):
        if arguments:
            names = ", ".join(arguments)
            raise click.UsageError(f"{text} is an object already, and takes no arguments ({names})")
        return
    try:
        inspect.signature(found).bind(**arguments)
    except TypeError as error:
        raise click.UsageError(f"{text}: {error}; give arguments as NAME=VALUE") from None
    except ValueError:
        pass  # of what is written in C there may be no signature
