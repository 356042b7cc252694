"""The error with which the demo ends early."""


class DemoError(Exception):
    """The demo cannot go on; the sentence says why."""
