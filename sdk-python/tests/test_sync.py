"""The façade for programs without asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from agentos import AgentOSError, State, sync

pytestmark = pytest.mark.usefixtures("engine")


def test_offers_and_calls() -> None:
    worker = sync.Worker("py-sync")

    @worker.function("py-sync::add")
    def add(a: int, b: int = 1) -> int:
        return a + b

    @worker.function("py-sync::count")
    def count(to: int) -> Iterator[int]:
        yield from range(to)

    @worker.function("py-sync::endless")
    async def endless() -> AsyncIterator[int]:
        while True:
            yield 1

    with worker:
        assert worker.state is State.CONNECTED
        assert worker.trigger("py-sync::add", {"a": 1}) == 2
        worker.trigger_void("py-sync::add", {"a": 1})
        assert list(worker.stream("py-sync::count", 100)) == list(range(100))
        with worker.stream("py-sync::endless") as chunks:
            assert next(chunks) == 1
        with pytest.raises(AgentOSError, match="a: expected an integer"):
            worker.trigger("py-sync::add", {"a": "1"})

        @worker.function("py-sync::late")
        async def late() -> str:
            return "late"

        worker.register()
        assert worker.trigger("py-sync::late") == "late"
        worker.unregister("py-sync::late")
    assert worker.state is State.CLOSED
    with worker:
        assert worker.trigger("py-sync::add", {"a": 2, "b": 2}) == 4


def test_a_blocking_call_on_the_loop_is_refused() -> None:
    worker = sync.Worker("py-sync-loop")

    @worker.function("py-sync-loop::wrong")
    async def wrong() -> object:
        return worker.trigger("py-sync-loop::other")

    with worker, pytest.raises(AgentOSError, match="a blocking call inside the event loop"):
        worker.trigger("py-sync-loop::wrong")


def test_a_call_without_a_connection() -> None:
    with pytest.raises(RuntimeError, match="the worker is not connected"):
        sync.Worker("py-sync-early").trigger("a::b")
