"""Coroutine tests and socket directories, as the adapters' tests have them."""

from tests.adapters.conftest import patient, place, pytest_pyfunc_call

__all__ = ["patient", "place", "pytest_pyfunc_call"]
