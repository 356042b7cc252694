"""Coverage: what is measured of these tests, and what is not."""

import sys

import pytest

from tests.rigs.uncounted import uncounted


@pytest.mark.no_cover
def test_nothing_is_measured_where_it_would_only_be_slow() -> None:
    assert "coverage" not in type(sys.gettrace()).__module__


def test_nor_where_a_table_is_filled_and_then_it_goes_on() -> None:
    before = type(sys.gettrace()).__module__
    with uncounted():
        assert "coverage" not in type(sys.gettrace()).__module__
    assert type(sys.gettrace()).__module__ == before
