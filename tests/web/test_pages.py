"""The files of the JavaScript client as Python hands them out."""

import re

import pytest

from busway import web
from tests.rigs import web_codes
from tests.rigs.tree import SOURCE


def test_the_client_is_whole() -> None:
    """The imports of a module are there, under the same folder; nothing comes from elsewhere."""
    pages = web.client("/lib/")
    assert {content_type for content_type, _ in pages.values()} == {"text/javascript; charset=utf-8"}
    for path, (_, body) in pages.items():
        imports = re.findall(
            r'^(?:import|export) .*? from "(.+?)";$', body.decode(), re.MULTILINE | re.DOTALL
        )
        assert (
            path.endswith(("/codec.js", "/codes.js", "/latest.js", "/patterns.js", "/x25519.js")) or imports
        )
        assert {"/lib/" + name.removeprefix("./") for name in imports} <= set(pages)
    assert {path.name for path in (SOURCE / "web").glob("*.js")} == set(web.CLIENT)


@pytest.mark.parametrize("folder", ["", "lib/", "/lib"])
def test_a_folder_has_slashes(folder: str) -> None:
    with pytest.raises(ValueError, match="a folder such as"):
        web.client(folder)


def test_the_numbers_are_those_of_the_core() -> None:
    assert web_codes.TARGET.read_text() == web_codes.script(), "run python -m tests.rigs.web_codes"
