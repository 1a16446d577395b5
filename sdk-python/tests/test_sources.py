"""Event sources as decorators, and the engine's stores, on a real engine."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest
from agentos import AgentOSError, Context, CronRun, ItemEvent, StateChange, Worker, sync

pytestmark = pytest.mark.usefixtures("engine")


async def take(queue: asyncio.Queue[Any], count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await queue.get() for _ in range(count)]


def test_events_call_their_functions() -> None:
    worker = Worker("py-sources")
    runs: asyncio.Queue[CronRun] = asyncio.Queue()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    consumed: asyncio.Queue[Any] = asyncio.Queue()
    attempts = 0

    @worker.cron("* * * * * *", timezone="Europe/Berlin")
    async def tick(run: CronRun) -> None:
        await runs.put(run)

    @worker.subscribe("py-orders.*")
    @worker.subscribe("py-refunds.>")
    async def paid(order: dict[str, Any]) -> None:
        await heard.put(order)

    @worker.consume("py-paid", attempts=3, backoff=0.01, fifo=True, id="py-sources::retried")
    async def retried(order: dict[str, Any]) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ValueError("not yet")
        await consumed.put(order)

    @worker.function("py-sources::later")
    async def later(what: str) -> None:
        await consumed.put(what)

    async def run() -> None:
        async with worker:
            await worker.publish("py-orders.paid", {"n": 1})
            await worker.publish("py-refunds.of.today", {"n": 2})
            assert await take(heard, 2) == [{"n": 1}, {"n": 2}]
            await worker.publish("py-paid", {"id": 7}, durable=True)
            assert await take(consumed, 1) == [{"id": 7}]
            assert attempts == 3
            assert len(await worker.enqueue("py-sources::later", "now", delay=0.001)) == 36
            assert await take(consumed, 1) == ["now"]
            (first,) = await take(runs, 1)
            assert first.scheduled_time.tzinfo is datetime.UTC or first.scheduled_time.utcoffset() == datetime.timedelta()

    asyncio.run(run())


def test_values_of_the_state() -> None:
    worker = Worker("py-state")
    changes: asyncio.Queue[StateChange] = asyncio.Queue()

    @worker.watch("py-users", "ada")
    async def changed(change: StateChange) -> None:
        await changes.put(change)

    @worker.function("py-state::count")
    async def count(ctx: Context) -> Any:
        counts = ctx.store("py-counts")
        await counts.set("a", {"n": ctx.time_left < 6})
        return await counts.get("a")

    async def run() -> None:
        async with worker:
            users = worker.store("py-users")
            assert await users.get("ada") is None
            written = await users.set("ada", {"visits": 0}, expected_version=0)
            with pytest.raises(AgentOSError) as caught:
                await users.set("ada", {}, expected_version=0)
            assert caught.value.code == "conflict"
            increment = [{"type": "increment", "path": "visits", "by": 2}]
            assert (await users.update("ada", increment, expected_version=written["version"]))["new_value"] == {"visits": 2}
            await users.set("ada", None)
            for number in range(5):
                await users.set(f"user-{number}", number)
            found = [(entry.key, entry.value) async for entry in users.entries("user-", page_size=2)]
            assert found == [(f"user-{number}", number) for number in range(5)]
            await users.delete("ada")
            events = [change.event_type for change in await take(changes, 4)]
            assert events == ["state:created", "state:updated", "state:updated", "state:deleted"]
            assert await worker.trigger("py-state::count", timeout=5) == {"n": True}

    asyncio.run(run())


def test_items_of_a_stream() -> None:
    worker = Worker("py-items")
    events: asyncio.Queue[ItemEvent] = asyncio.Queue()

    @worker.watch_items("py-board", "todo")
    async def changed(event: ItemEvent) -> None:
        await events.put(event)

    async def run() -> None:
        async with worker:
            cards = worker.items("py-board", "todo")
            await cards.set("1", {"title": "tea"})
            await cards.update("1", [{"type": "set", "path": "title", "value": "coffee"}])
            assert await cards.get("1") == {"title": "coffee"}
            assert await cards.all() == [{"title": "coffee"}]
            await cards.send("ring", {"loud": True})
            assert await cards.delete("1") == {"title": "coffee"}
            assert [event["event"]["type"] for event in await take(events, 4)] == ["create", "update", "event", "delete"]

    asyncio.run(run())


def test_stores_without_asyncio() -> None:
    with sync.Worker("py-sync-stores") as worker:
        store = worker.store("py-sync")
        store.set("a", 1)
        assert store.get("a") == 1
        assert [(entry.key, entry.value) for entry in store.entries()] == [("a", 1)]
        assert store.delete("a") == 1
        items = worker.items("py-sync", "g")
        items.set("1", "tea")
        assert items.all() == ["tea"]
        worker.publish("py-sync-nobody", 1)
