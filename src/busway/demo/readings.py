"""Publishes this machine's own readings, five times a second. Try: busway listen demo/readings --bus demo"""

import asyncio

import psutil

import busway
from busway.demo import program
from busway.demo.messages import Readings

PERIOD_S = 0.2


def measure() -> Readings:
    """The readings of this machine that psutil gives now."""
    memory = psutil.virtual_memory()
    return Readings(
        cpu_percent=psutil.cpu_percent(),  # since the last call
        load=list(psutil.getloadavg()),
        memory_percent=memory.percent,
        memory_size=memory.total,
        celsius=temperatures(),
    )


def temperatures() -> dict[str, float]:
    """Degrees Celsius by sensor; most virtual machines have none, and some platforms no way to ask."""
    read = getattr(psutil, "sensors_temperatures", dict)
    return {
        f"{chip} {sensor.label}".strip(): sensor.current
        for chip, sensors in read().items()
        for sensor in sensors
    }


async def main(bus_name: str) -> None:
    async with busway.AsyncBus(bus_name, label="readings") as bus:
        while True:
            await bus.publish("demo/readings", measure(), realm="global")
            await asyncio.sleep(PERIOD_S)


if __name__ == "__main__":
    program.run(main)
