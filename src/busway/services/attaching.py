"""Methods with files and regions: the one argument, and the result, that a contract annotates as
`busway.Attached[T]`. The value travels as any other, and with the request or the answer what is attached.
"""

from __future__ import annotations

import sys
import typing
from typing import TYPE_CHECKING, Any

from busway.adapters.carrying import is_attached
from busway.classes import Mismatch, label_of

if TYPE_CHECKING:
    from busway.adapters.typed import Request
    from busway.attached import Attached
    from busway.services.contracts import Method

_ABSENT = object()


def value_of(annotation: Any) -> tuple[bool, Any]:
    """Whether an annotation is `Attached`, and that of the value: itself, or what stands in brackets."""
    loaded = sys.modules.get("busway.attached")  # else nobody can have written it
    if loaded is None or (typing.get_origin(annotation) or annotation) is not loaded.Attached:
        return False, annotation
    return True, (typing.get_args(annotation) or (Any,))[0]


class Attaching:
    """The attached argument and result of one method.

    Args:
        method: whose annotations have been looked at.
        argument: the name of the argument, "" if none is attached.
        gives: whether the result is, or each part of it.
    """

    __slots__ = ("argument", "gives", "method")

    def __init__(self, method: Method, argument: str, gives: bool) -> None:
        self.method = method
        self.argument = argument
        self.gives = gives

    def question(self, arguments: dict[str, Any]) -> Any:
        """The payload of a call with those arguments. Raises TypeError for one that does not fit."""
        method = self.method
        attached = arguments.get(self.argument, _ABSENT)
        if attached is _ABSENT:
            return method.question(arguments)
        if not is_attached(attached):
            raise TypeError(method.arguments.complaint(_misfit(attached, f".{self.argument}")))
        arguments[self.argument] = attached.payload
        return attached.around(method.question(arguments), once=True)

    def take(self, request: Request[Any], arguments: dict[str, Any]) -> None:
        """At the server: what came with a request is the argument's."""
        if self.argument in arguments:
            from busway.attached import Attached

            arguments[self.argument] = Attached.brought(request, arguments[self.argument])

    def pack(self, result: Any) -> Any:
        """The answer that travels for a result, or a part of one. Raises TypeError if it does not fit."""
        if not self.gives:
            return self.method.value.pack(result)
        if not is_attached(result):
            raise TypeError(self.method.value.complaint(_misfit(result, "")))
        return result.around(self.method.value.pack(result.payload))

    def unpack(self, answer: Attached[Any]) -> Any:
        """At the client: the result that an answer stands for. Raises Mismatch."""
        value = self.method.value.unpack(answer.payload)
        return answer.around(value) if self.gives else value


def _misfit(value: Any, path: str) -> Mismatch:
    return Mismatch(f"expected busway.Attached, got {label_of(type(value))}", path)
