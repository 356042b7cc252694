"""Faces are whole: whatever is made of a class has all that the faces above it name."""

import inspect
import pkgutil
from importlib import import_module

import busway.adapters
import busway.protocol


def _classes() -> set[type]:
    """All of the core and of the adapters, but those of boards, which only MicroPython has modules for."""
    found: set[type] = set()
    for package in (busway.protocol, busway.adapters):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".micropython" not in module.name:
                members = vars(import_module(module.name)).values()
                found.update(one for one in members if inspect.isclass(one) and one.__module__ == module.name)
    return found


def missing(one: type) -> list[str]:
    """The methods that a class has only the names of."""
    found = []
    for name in dir(one):
        member = inspect.getattr_static(one, name)
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function) and function.__code__.co_names == ("NotImplementedError",):
            found.append(function.__qualname__)
    return found


def test_whatever_has_a_face_has_all_of_it() -> None:
    """Coverage does not ask for `raise NotImplementedError`, and mypy lets it be."""
    classes = _classes()
    faces = {above for one in classes for above in one.__mro__[1:]}
    assert len(classes - faces) > 100
    assert {one.__qualname__: missing(one) for one in classes - faces if missing(one)} == {}


def test_a_hole_would_be_seen() -> None:
    class Face:
        def write(self) -> None:
            raise NotImplementedError

        @property
        def size(self) -> int:
            raise NotImplementedError

    class Half(Face):
        def write(self) -> None:
            pass

    assert missing(Half) == ["test_a_hole_would_be_seen.<locals>.Face.size"]
