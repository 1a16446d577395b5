"""Echo as a user of the Python SDK writes it: `agentos_echo.py callee|caller IN_FLIGHT WARMUP_MS SECONDS`."""

import asyncio
import os
import sys
import threading

from measure import PAYLOAD, measure

from agentos import Worker

worker = Worker(f"bench-{sys.argv[1]}")


async def callee() -> None:
    @worker.function("bench::echo")
    async def echo(data: dict) -> dict:
        return data

    async with worker:
        print("ready", flush=True)
        await asyncio.Event().wait()


async def caller(in_flight: int, warmup_ms: int, seconds: float) -> None:
    async with worker:
        await measure(lambda: worker.trigger("bench::echo", PAYLOAD), in_flight, warmup_ms, seconds)


# Ends with the harness, however that ends.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
if sys.argv[1] == "callee":
    asyncio.run(callee())
else:
    asyncio.run(caller(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
