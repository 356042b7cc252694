"""Message types that the programs of this folder share."""

from dataclasses import dataclass

import busway


@busway.message(name="lab/reading")
@dataclass
class Reading:
    """Published by sensors."""

    place: str
    celsius: float


@busway.message(name="lab/calibrate")
@dataclass
class Calibrate:
    """Asked of a sensor: what a better thermometer says."""

    celsius: float


@busway.message(name="lab/calibrated")
@dataclass
class Calibrated:
    """The answer: what is added from now on."""

    offset: float
