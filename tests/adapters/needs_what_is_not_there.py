"""A driver whose library is not installed, for test_opening.py."""

import a_library_that_is_not_installed  # type: ignore[import-not-found]  # noqa: F401
