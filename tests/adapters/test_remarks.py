"""Names that other programs give come into the log as one line, and steer no terminal."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest

import busway
from busway.adapters.literal import text_of
from tests.adapters.tools import buses, sees, until

pytestmark = pytest.mark.jumps


async def test_a_label_or_name_begins_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    name = "lab/a\nERROR forged \x1b[31m"
    with caplog.at_level(logging.DEBUG, logger="busway"):
        async with buses(2) as (a, b):
            b.register(name)
            await until(lambda: sees(a, name))
    texts = [record.getMessage() for record in caplog.records]
    assert any("lab/a\\nERROR forged \\x1b[31m" in text for text in texts), texts
    assert all(text.isprintable() for text in texts), texts


@busway.message(name="lab/remarked")
@dataclass
class Remarked:
    number: int


@busway.message("3f2d1f0a-8a3c-4f9e-9d47-1b0a5e0c7721")
@dataclass
class Nameless:
    number: int


@pytest.mark.parametrize(("kind", "name"), [(Remarked, "lab/remarked"), (Nameless, "Nameless")])
async def test_an_endpoint_that_a_class_stands_for_goes_by_one_name(
    kind: type[Any], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="busway"):
        async with buses(2) as (a, b):
            b.register(kind).close()
            with pytest.raises(busway.Undeliverable, match=f"^not delivered to {name}: "):
                await a.send(kind, kind(1), ttl=0.01)
            assert f"to {name} waits: nobody is known" in caplog.text
            receiver = b.register(kind, queue=2)
            await until(lambda: len([found for found in a.endpoints() if found.node == b.id]) == 1)
            await a.send(kind, kind(1))
            receiver.close()
            await until(lambda: f"a message was not delivered to {name}: " in caplog.text)
    assert text_of(kind) == text_of(busway.endpoint_id(kind)) == name


def test_a_name_that_only_its_declaration_tells() -> None:
    assert text_of(busway.endpoint_id("lab/remarked too")) != "lab/remarked too"
    busway.message(name="lab/remarked too")(dataclass(type("Too", (), {"__annotations__": {"number": int}})))
    assert text_of(busway.endpoint_id("lab/remarked too")) == "lab/remarked too"
