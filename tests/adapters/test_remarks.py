"""What other programs have named comes into the log as one line, and steers no terminal."""

from __future__ import annotations

import logging

import pytest

from tests.adapters.tools import buses, sees, until


async def test_a_label_or_name_begins_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    name = "lab/a\nERROR forged \x1b[31m"
    with caplog.at_level(logging.DEBUG, logger="busway"):
        async with buses(2) as (a, b):
            b.register(name)
            await until(lambda: sees(a, name))
    texts = [record.getMessage() for record in caplog.records]
    assert any("lab/a\\nERROR forged \\x1b[31m" in text for text in texts), texts
    assert all(text.isprintable() for text in texts), texts
