"""A worker of our Python SDK whose builds answer what their file `build.json` says."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

from agentos import Worker

build = json.loads(Path("build.json").read_text())
record = open(build["record"], "a", buffering=1)
shop = Worker("shop")


@shop.function("shop::health")
async def health() -> bool:
    return True


@shop.function("shop::version")
async def version() -> int:
    return build["version"]


@shop.function("shop::record")
async def write(n: int, ms: int) -> int:
    record.write(f"{n}\n")
    if ms:
        await asyncio.sleep(ms / 1000)
    return n


@shop.function("shop::count")
async def count(to: int, ms: int) -> AsyncIterator[int]:
    for n in range(to):
        yield n
        await asyncio.sleep(ms / 1000)


shop.run()
