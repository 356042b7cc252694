"""The bus behind FastAPI: a page with the last reading, and a button that calibrates the sensor.

Run it with `uvicorn web_fastapi:app` in this folder.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse

import busway
from lab import Calibrate, Calibrated, Reading

bus = busway.AsyncBus(label="FastAPI")
last: dict[str, Reading] = {}


async def follow(readings: busway.Receiver[Reading]) -> None:
    async for message in readings:
        if message.error is None:
            last[message.payload.place] = message.payload


@contextlib.asynccontextmanager
async def life(_: FastAPI) -> AsyncGenerator[None, None]:
    async with bus, asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow(bus.subscribe(Reading)))
        yield
        following.cancel()


app = FastAPI(lifespan=life)


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))


@app.get("/readings")
async def readings() -> list[Reading]:
    return list(last.values())


@app.post("/calibrate")
async def calibrate(celsius: float) -> Calibrated:
    try:
        return await bus.request(Calibrate, Calibrate(celsius), reply=Calibrated, timeout=5.0)
    except busway.Undeliverable as error:
        raise HTTPException(503, str(error)) from error
