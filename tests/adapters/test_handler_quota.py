"""Quotas of handlers: how many work at once for one link, over all services of a program."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import busway
from tests.adapters.test_policy import bus, joined, opened

POLICY = {"rule": [{"who": "*", "quota": {"handlers": 2}, "role": "router"}]}


@pytest.mark.jumps(needed=True)
async def test_two_services_have_two_handlers_for_one_caller_and_more_for_others() -> None:
    async with opened(bus(policy=POLICY), bus(label="busy"), bus(label="other")) as (here, busy, other):
        at_work = dict.fromkeys(("busy", "other"), 0)
        most = dict(at_work)

        async def work(request: busway.Request) -> None:
            who = request.source_label
            at_work[who] += 1
            most[who] = max(most[who], at_work[who])
            await asyncio.sleep(1)
            at_work[who] -= 1

        for name in ("lab/one", "lab/two"):
            here.serve(name, work)
        await joined(here, busy)
        await joined(here, other)
        asking = [busy.request(name) for _ in range(6) for name in ("lab/one", "lab/two")]
        asking += [other.request(name) for name in ("lab/one", "lab/two")]
        assert await asyncio.gather(*asking) == [None] * 14
        assert most == {"busy": 2, "other": 2}


def test_threads_keep_to_it_too() -> None:
    lock = threading.Lock()
    at_work = most = 0

    def work(_: busway.Request) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.05)
        with lock:
            at_work -= 1

    with busway.Bus(ipc=False, policy=POLICY) as here, busway.Bus(ipc=False) as there:
        for name in ("lab/one", "lab/two"):
            here.serve(name, work)
        there.connect(here.listen("tcp://127.0.0.1:0").url)
        asked = [there.request_future(name) for name in ("lab/one", "lab/two") * 3]
        assert [future.result(60) for future in asked] == [None] * 6
    assert most == 2
