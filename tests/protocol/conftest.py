"""Keeps tests with drawn examples out of the core's coverage: the gate must not depend on what is drawn."""

import pytest
from hypothesis import is_hypothesis_test


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rest reaches every line and branch; without coverage the many examples are quicker, too."""
    for item in items:
        if isinstance(item, pytest.Function) and is_hypothesis_test(item.obj):
            item.add_marker("no_cover")
