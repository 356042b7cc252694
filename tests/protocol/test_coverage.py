"""Coverage: what is measured of these tests, and what is not."""

import sys

import pytest


@pytest.mark.no_cover
def test_nothing_is_measured_where_it_would_only_be_slow() -> None:
    assert "coverage" not in type(sys.gettrace()).__module__
