"""Joins, listens, asks, reports with a confirmed send, leaves: again and again, as short programs do."""

import asyncio
import contextlib
import time

import busway
from busway.demo import program
from busway.demo.messages import Readings, Visit

QUESTIONS = 20
READINGS = 4
PAUSE_S = 0.8
PATIENCE_S = 2.0


async def ask(bus: busway.AsyncBus) -> int:
    """Asks all questions at once; returns how many were answered, and rightly."""

    async def question(number: int) -> bool:
        answer = await bus.request("demo/sum", [number, 1], timeout=PATIENCE_S, ttl=PATIENCE_S)
        return bool(answer == number + 1)

    answers = await asyncio.gather(*map(question, range(QUESTIONS)), return_exceptions=True)
    return answers.count(True)


async def listen(readings: busway.Receiver, count: int) -> int:
    """Waits for so many readings, but not for ever; returns how many came."""
    for taken in range(count):
        try:
            await readings.receive(timeout=PATIENCE_S)
        except TimeoutError:
            return taken
    return count


async def visit(bus_name: str, number: int) -> None:
    """One stay on the bus, from joining to leaving."""
    started = time.monotonic()
    async with busway.AsyncBus(bus_name, label="visitor") as bus:
        join_ms = (time.monotonic() - started) * 1000
        async with bus.subscribe("demo/readings", types=(Readings,)) as readings:
            replied = await ask(bus)
            heard = await listen(readings, READINGS)
        report = Visit(number, join_ms, QUESTIONS, replied, heard)
        # Confirmed: it returns only when the receiving program has taken the report.
        await bus.send("demo/guestbook", report, confirm=True, timeout=PATIENCE_S)


async def main(bus_name: str) -> None:
    number = 0
    while True:
        number += 1
        with contextlib.suppress(busway.BusError):  # whoever should have taken the report has just left
            await visit(bus_name, number)
        await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    program.run(main)
