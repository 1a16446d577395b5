"""Python's logging on the bus."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from agentos import Context, LogHandler, Worker

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger(f"shop.{uuid.uuid4()}")
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers.clear()


async def records(worker: Worker, count: int) -> list[dict[str, Any]]:
    """What the engine has kept for the worker, oldest first."""
    async with asyncio.timeout(10):
        while True:
            kept = (await worker.trigger("engine::logs::list", {}))["logs"]
            ours = [record for record in kept if record["service_name"] == worker.name]
            if len(ours) >= count:
                return ours[::-1]
            await asyncio.sleep(0.02)


def test_records_carry_their_call(logger: logging.Logger) -> None:
    worker = Worker(f"py-logs-{uuid.uuid4()}")
    logger.addHandler(LogHandler(worker))

    @worker.function("py-logs::async")
    async def order(item: str) -> None:
        logger.info("ordered %s", item, extra={"count": 2, "odd": object})

    @worker.function("py-logs::thread")
    def fail(item: str) -> None:
        try:
            raise KeyError(item)
        except KeyError:
            logger.exception("no %s", item)

    async def run() -> None:
        logger.info("nobody is there yet")
        async with worker:
            logger.debug("below the level")
            await worker.trigger("py-logs::async", "tea")
            await worker.trigger("py-logs::thread", "milk")
            logger.warning("outside")
            ordered, failed, outside = await records(worker, 3)
            assert (ordered["body"], ordered["severity_text"]) == ("ordered tea", "INFO")
            data = ordered["attributes"]
            assert data["count"] == 2 and data["function"] == "py-logs::async" and "object" in data["odd"]
            assert failed["severity_text"] == "ERROR"
            assert failed["attributes"]["exception"].endswith("KeyError: 'milk'")
            assert (outside["body"], outside["severity_text"]) == ("outside", "WARN")

    asyncio.run(run())


def test_a_record_belongs_to_the_trace_of_its_call(logger: logging.Logger) -> None:
    worker = Worker(f"py-logs-{uuid.uuid4()}")
    logger.addHandler(LogHandler(worker))

    @worker.function("py-logs::traced")
    async def traced(ctx: Context) -> str | None:
        await asyncio.sleep(0)
        logger.info("traced")
        return ctx.trace.parent

    async def run() -> None:
        async with worker:
            parents = await asyncio.gather(*(worker.trigger("py-logs::traced") for _ in range(3)))
            kept = await records(worker, 3)
            assert [record["trace_id"] for record in kept] == [parent.split("-")[1] for parent in parents]

    asyncio.run(run())
