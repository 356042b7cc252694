"""Numbers of drawn examples."""

import hypothesis


def examples(count: int) -> int:
    """As `max_examples`: so many, or the share of them that the profile draws of Hypothesis's own 100."""
    return max(1, count * hypothesis.settings().max_examples // 100)
