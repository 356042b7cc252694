"""The message types of the demo's programs. Knows nothing of who sends and who receives them."""

from dataclasses import dataclass, field

import busway


@busway.message("255ec047-4786-47d4-8352-b85dad86930f")
@dataclass
class Readings:
    """Measurements of a machine. Shares are percentages, temperatures degrees Celsius by sensor."""

    cpu_percent: float
    load: list[float]  # programs that want to run, averaged over 1, 5 and 15 minutes
    memory_percent: float
    memory_size: int  # bytes
    celsius: dict[str, float] = field(default_factory=dict)  # empty where there are no sensors


@busway.message("c502ee56-aeee-49e3-becc-1affb8c736a9")
@dataclass
class Visit:
    """Counts of what a visitor did between joining and leaving."""

    number: int  # counts this visitor's visits from 1
    join_ms: float
    asked: int
    replied: int
    readings: int
