"""Right use, as mypy and pyright have to accept it. Never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, assert_type

from agentos import AgentOSError, Code, Context, CronRun, Entry, HttpRequest, HttpResponse, StateChange, Worker, sync
from agentos.testing import Engine

worker = Worker("typed")


@dataclass
class Order:
    item: str
    count: int = 1


@worker.function("typed::order", description="Orders something.")
async def order(ctx: Context, order: Order) -> dict[str, int]:
    left: float = ctx.time_left
    ctx.logger.info("ordered %s with %s s left", order.item, left)
    return {"total": order.count}


@worker.http("POST", "/orders", auth="none")
async def post(request: HttpRequest) -> HttpResponse:
    return HttpResponse({"method": request.method}, status_code=201)


@worker.cron("@daily", missed="once")
@worker.subscribe("orders.>")
async def events(run: CronRun | None = None) -> None: ...


@worker.watch("users")
def changed(change: StateChange) -> None:
    assert_type(change.key, str)


@worker.function(streams=True)
async def count(to: int) -> AsyncIterator[int]:
    yield to


async def main() -> None:
    # A decorated function is what it was.
    assert_type(await order(worker_context(), Order("tea")), dict[str, int])
    async with worker:
        found: Any = await worker.trigger("typed::order", Order("tea"), timeout=5)
        async for chunk in worker.stream("typed::count", 3):
            print(chunk, found)
        try:
            await worker.publish("orders.paid", {"n": 1}, durable=True)
        except AgentOSError as error:
            assert_type(error.code, Code)
        users = worker.store("users")
        async for entry in users.entries("a"):
            assert_type(entry, Entry[Any])


def worker_context() -> Context: ...  # type: ignore[empty-body]


def blocking() -> None:
    with sync.Worker("typed") as client, Engine() as engine:
        client.store("users").set("ada", {"url": engine.url})
        for chunk in client.stream("typed::count", 3):
            print(chunk)
