"""What the tests with the virtual radio ask of pytest; the radio's own programs need none of it."""

import pytest

# dbus-fast leaves the socket of a connection that was interrupted in its making to the garbage collector.
LEAVES_SOCKETS = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)
