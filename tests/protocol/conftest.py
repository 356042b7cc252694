"""Which tests of the core run where: those with drawn examples are kept out of its coverage, as the gate must
not depend on what is drawn; those that set constants do not run on the compiled core.
"""

from collections.abc import Iterator

import pytest
from hypothesis import is_hypothesis_test

from busway.protocol.messaging import carried
from busway.protocol.wire import codes


@pytest.fixture(autouse=True)
def core_alone() -> Iterator[None]:
    """What opens things is one for the process, and tests of other folders may have brought theirs."""
    former = list(carried._openers)
    carried._openers.clear()
    yield
    carried._openers[:] = former


@pytest.fixture
def monkeypatch() -> Iterator[pytest.MonkeyPatch]:
    """As pytest's own. The constants and methods that tests of the core set stand in compiled code."""
    if not codes.__file__.endswith(".py"):
        pytest.skip("what it sets is compiled in")
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rest reaches every line and branch; without coverage the many examples are quicker, too."""
    for item in items:
        if isinstance(item, pytest.Function) and is_hypothesis_test(item.obj):
            item.add_marker("no_cover")
