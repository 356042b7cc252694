"""The controller of a home, as an object that the bus runs: `busway host home:Home --serial`."""

import time
from typing import Literal

import busway

Mode = Literal["present", "away"]


@busway.service("home", version=1)
class Home:
    """Light where somebody moves, warmth where it is cold, and an alarm if somebody moves while all are away.

    Sensors publish home/ROOM/motion (None) and home/ROOM/celsius (a number); lamps and heaters subscribe to
    home/ROOM/lamp and home/ROOM/heater (True or False).
    """

    alarm: busway.Signal[str]  # the room

    def __init__(self, celsius: float = 20.0, linger: float = 60.0) -> None:
        self.wanted = {"present": celsius, "away": celsius - 5}
        self.linger = linger  # seconds from the last motion until it gets dark
        self.mode: Mode = "present"
        self.moved: dict[str, float] = {}  # the rooms with light, and when somebody moved there

    async def set_mode(self, mode: Mode) -> None:
        """Say whether somebody is at home."""
        self.mode = mode

    async def lit(self) -> list[str]:
        """The rooms with light."""
        return sorted(self.moved)

    def on_start(self, bus: busway.AsyncBus) -> None:
        self.bus = bus

    @busway.on("home/*/motion")
    async def motion(self, message: busway.Message[None]) -> None:
        room = message.name.split("/")[1]
        if self.mode == "away":
            await self.alarm.publish(room)
            return
        if room not in self.moved:
            await self._switch(room, "lamp", True)
        self.moved[room] = time.monotonic()

    @busway.on("home/*/celsius")
    async def temperature(self, message: busway.Message[float]) -> None:
        await self._switch(message.name.split("/")[1], "heater", message.payload < self.wanted[self.mode])

    @busway.every(0.5)
    async def darken(self) -> None:
        still = [room for room, moved in self.moved.items() if time.monotonic() - moved > self.linger]
        for room in still:
            await self._darken(room)

    async def on_stop(self) -> None:
        for room in list(self.moved):
            await self._darken(room)

    async def _darken(self, room: str) -> None:
        del self.moved[room]
        await self._switch(room, "lamp", False)

    async def _switch(self, room: str, what: str, on: bool) -> None:
        await self.bus.publish(f"home/{room}/{what}", on, retain=True)  # for those that join later, too
