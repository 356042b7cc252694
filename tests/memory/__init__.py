"""Memory that programs share, with real processes at its other end."""
