"""Hosting: a bus is handed an object, and runs what it says of itself. `bus.host` leads here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from busway.adapters.arguments import REALMS, choice
from busway.services.contracts import Outline, check_service_name, needed_outline, outline_of
from busway.services.lives import Contracted, Hosted, Rules, class_of, rules_of

if TYPE_CHECKING:
    from busway.adapters.typed import LifeOptions
    from busway.services.lives import Crowd

_SERVED = frozenset({"kind", "limit", "queue", "cost", "labels", "gone", "sealed"})


def host(
    bus: Any, obj: Any, contract: Any, name: Any, version: int | None, realm: Any, **options: Any
) -> Hosted:
    """An object that is hosted; `host` of a bus says what is what."""
    choice("realm", realm, REALMS)
    if unknown := options.keys() - _SERVED - set(Rules._fields):
        takes = ", ".join(sorted({"contract", "name", "version", *_SERVED, *Rules._fields}))
        raise TypeError(f"host takes {takes}, not {', '.join(sorted(unknown))}")
    served = {option: options.pop(option) for option in _SERVED & options.keys()}
    rules = rules_of(cast("LifeOptions", options))._replace(realm=realm)
    outline = _outline(obj, contract)
    if name is not None:
        check_service_name(name)
    contracted = None
    if outline is not None:
        if rules.serial:
            served.setdefault("limit", 1)
        number = outline.version if version is None else version
        name = outline.name if name is None else name
        contracted = Contracted(outline, name, number, {"realm": realm, **served})
    elif served or version is not None:
        given = ", ".join(sorted(served)) or "version"
        raise TypeError(
            f"{given}: {class_of(obj).__qualname__} serves no contract; @busway.on takes such options"
        )
    crowd = crowd_of(bus)
    hosted: Hosted = crowd.begin(crowd.made(bus, obj, name, contracted, rules))
    return hosted


def crowd_of(bus: Any) -> Crowd[Any]:
    """The objects that a bus hosts."""
    if bus._crowd is None:
        bus._crowd = import_module(bus._lives).Crowd()
    return cast("Crowd[Any]", bus._crowd)


def _outline(obj: Any, contract: Any) -> Outline | None:
    return outline_of(class_of(obj)) if contract is None else needed_outline(contract)
