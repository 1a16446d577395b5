"""Workers on a real engine: calls, errors, streams, cancellation, triggers, closing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from agentos import AgentOSError, Context, State, Worker, sync
from conftest import Engine

pytestmark = pytest.mark.usefixtures("engine")


@dataclass
class Sum:
    a: int
    b: int


def test_calls_a_function_of_its_own() -> None:
    worker = Worker("py-calls")

    @worker.function("py-calls::greet")
    async def greet(name: str) -> str:
        return f"hello {name}"

    @worker.function("py-calls::add")
    async def add(sum: Sum) -> int:
        return sum.a + sum.b

    @worker.function("py-calls::reverse")
    async def reverse(data: bytes) -> bytes:
        return data[::-1]

    async def run() -> None:
        async with worker:
            assert await worker.trigger("py-calls::greet", {"name": "Ada"}) == "hello Ada"
            assert await worker.trigger("py-calls::greet", "Ada") == "hello Ada"
            assert await worker.trigger("py-calls::add", Sum(1, 2)) == 3
            assert await worker.trigger("py-calls::reverse", b"\x00\xff") == b"\xff\x00"
            with pytest.raises(AgentOSError) as caught:
                await worker.trigger("py-calls::add", {"a": 1, "b": "2"})
            assert (caught.value.code, caught.value.details) == ("invalid_input", {"field": "b"})

    asyncio.run(run())


def test_values_arrive_as_they_were() -> None:
    worker = Worker("py-values")

    @worker.function("py-values::echo")
    async def echo(value: Any) -> Any:
        return value

    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    values: list[Any] = [
        None, True, False, 0, -1, 2**53 + 1, 2**63, 2**64, -(2**70), 0.1, -0.5, 1e300, "", "é\x00\U0001f600",
        [], {}, {"": [None, {"a": {"b": []}}]}, ["x" * 100_000], deep, {"n": "12345678901234567890123"},
    ]

    async def run() -> None:
        async with worker:
            back = await asyncio.gather(*(worker.trigger("py-values::echo", value) for value in values))
            assert back == values
            assert [type(value) for value in back[:12]] == [type(value) for value in values[:12]]

    asyncio.run(run())


def test_calls_of_one_moment_arrive_in_their_order() -> None:
    worker = Worker("py-order")
    seen: list[Any] = []

    @worker.function("py-order::note")
    async def note(value: Any) -> None:
        seen.append(value)

    async def run() -> None:
        async with worker:
            waiting = []
            for number in range(300):
                value = bytes([number % 256]) if number % 7 == 0 else number
                if number % 3 == 0:
                    await worker.trigger_void("py-order::note", value)
                else:
                    waiting.append(asyncio.create_task(worker.trigger("py-order::note", value)))
                    await asyncio.sleep(0)
            await asyncio.gather(*waiting)
            assert seen == [bytes([number % 256]) if number % 7 == 0 else number for number in range(300)]

    asyncio.run(run())


def test_what_the_native_module_cannot_read_fails_its_call_alone() -> None:
    worker = Worker("py-unread")

    @worker.function("py-unread::echo")
    async def echo(value: Any) -> Any:
        return value

    async def run() -> None:
        async with worker:
            good, bad = await asyncio.gather(
                worker.trigger("py-unread::echo", 1), worker.trigger("py-unread::\ud800", 1), return_exceptions=True
            )
            assert good == 1
            assert isinstance(bad, AgentOSError) and bad.code == "invalid_input"

    asyncio.run(run())


def test_a_call_is_made_again_while_its_errors_may_pass() -> None:
    worker = Worker("py-retries")
    tries = 0

    @worker.function("py-retries::flaky")
    async def flaky(failures: int) -> int:
        nonlocal tries
        tries += 1
        if tries <= failures:
            raise AgentOSError("overloaded", "later")
        return tries

    @worker.function("py-retries::no")
    async def no() -> None:
        nonlocal tries
        tries += 1
        raise AgentOSError("conflict", "no")

    async def fails(function: str, payload: Any, code: str, **options: Any) -> int:
        nonlocal tries
        tries = 0
        with pytest.raises(AgentOSError) as caught:
            await worker.trigger(function, payload, **options)
        assert caught.value.code == code
        return tries

    async def run() -> None:
        async with worker:
            assert await worker.trigger("py-retries::flaky", 2, retries=3) == 3
            assert await fails("py-retries::flaky", 9, "overloaded", retries=1) == 2
            assert await fails("py-retries::flaky", 9, "overloaded") == 1
            assert await fails("py-retries::no", None, "conflict", retries=3) == 1
            assert await fails("py-retries::flaky", 10**9, "overloaded", retries=10**9, timeout=0.3) > 1

    asyncio.run(run())


def test_errors_reach_the_caller() -> None:
    worker = Worker("py-errors")

    @worker.function("py-errors::own")
    async def own() -> None:
        raise AgentOSError("card_declined", "no money", details={"left": 3})

    @worker.function("py-errors::any")
    async def any() -> None:
        raise KeyError("missing")

    @worker.function("py-errors::odd")
    async def odd() -> object:
        return object()

    async def fails(function: str, **options: Any) -> AgentOSError:
        with pytest.raises(AgentOSError) as caught:
            await worker.trigger(function, **options)
        return caught.value

    async def run() -> None:
        async with worker:
            error = await fails("py-errors::own")
            assert (error.code, error.reason, error.message, error.details) == (
                "failed", "card_declined", "no money", {"left": 3},
            )
            error = await fails("py-errors::any")
            assert (error.code, error.reason, error.origin) == ("failed", "KeyError", "worker")
            assert "test_worker.py" in error.details["stack"]
            assert "no JSON form" in (await fails("py-errors::odd")).message
            assert (await fails("py-errors::nothing")).code == "not_found"
            assert (await fails("")).code == "invalid_input"

    asyncio.run(run())


def test_streams_chunks_in_order_and_bounded() -> None:
    worker = Worker("py-streams")
    sent = 0

    @worker.function("py-streams::count")
    async def count(to: int) -> AsyncIterator[int]:
        nonlocal sent
        for number in range(to):
            yield number
            sent += 1

    @worker.function("py-streams::threaded")
    def threaded(to: int) -> Iterator[int]:
        yield from range(to)

    @worker.function("py-streams::sent", streams=True)
    async def by_hand(ctx: Context) -> str:
        await ctx.send({"part": 1})
        return "whole"

    async def run() -> None:
        async with worker:
            # Far beyond the window of 64, so credit goes back and forth.
            assert [chunk async for chunk in worker.stream("py-streams::count", 500)] == list(range(500))
            assert [chunk async for chunk in worker.stream("py-streams::threaded", 200)] == list(range(200))
            assert await worker.trigger("py-streams::count", 3) == [0, 1, 2]
            stream = worker.stream("py-streams::sent")
            assert [chunk async for chunk in stream] == [{"part": 1}]
            assert await stream.result() == "whole"
            assert await worker.trigger("py-streams::sent") == "whole"

            nonlocal sent
            sent = 0
            slow = worker.stream("py-streams::count", 1000)
            assert await anext(slow) == 0
            await asyncio.sleep(0.2)
            assert sent <= 65, "a caller that does not read must hold the function back"
            await slow.aclose()

    asyncio.run(run())


def test_a_failing_stream_raises_after_its_chunks() -> None:
    worker = Worker("py-broken")

    @worker.function("py-broken::stream")
    async def stream() -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken")

    async def run() -> None:
        async with worker:
            seen = []
            with pytest.raises(AgentOSError, match="ValueError: broken"):
                async for chunk in worker.stream("py-broken::stream"):
                    seen.append(chunk)
            assert seen == [1]

    asyncio.run(run())


def test_giving_up_cancels_the_handler() -> None:
    worker = Worker("py-cancel")
    cancelled = asyncio.Event()

    @worker.function("py-cancel::sleep")
    async def sleep() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    @worker.function("py-cancel::outer")
    async def outer(ctx: Context) -> None:
        await ctx.trigger("py-cancel::sleep")

    @worker.function("py-cancel::endless")
    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            cancelled.set()

    async def happens() -> None:
        await asyncio.wait_for(cancelled.wait(), 5)
        cancelled.clear()

    async def run() -> None:
        async with worker:
            # The task that waits is cancelled: through two calls.
            waiting = asyncio.create_task(worker.trigger("py-cancel::outer"))
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await happens()
            # The deadline passes.
            with pytest.raises(AgentOSError) as caught:
                await worker.trigger("py-cancel::outer", timeout=0.2)
            assert caught.value.code == "timeout"
            await happens()
            # A stream is left.
            async for _ in worker.stream("py-cancel::endless"):
                break
            await happens()

    asyncio.run(run())


def test_the_context_knows_the_call() -> None:
    worker = Worker("py-context")

    @worker.function("py-context::inner")
    async def inner(ctx: Context) -> dict[str, Any]:
        return {
            "function": ctx.function, "left": ctx.time_left, "trace": ctx.trace, "metadata": ctx.metadata,
            "caller": ctx.caller, "stream": ctx.wants_stream,
        }

    @worker.function("py-context::outer")
    async def outer(ctx: Context) -> Any:
        return await ctx.trigger("py-context::inner", timeout=60, metadata={"from": "outer"})

    async def run() -> None:
        async with worker:
            seen = await worker.trigger("py-context::outer", timeout=5)
            assert seen["function"] == "py-context::inner"
            assert 0 < seen["left"] <= 5, "a nested call ends with its parent"
            assert seen["metadata"] == {"from": "outer"}
            assert seen["caller"]
            assert seen["stream"] is False

    asyncio.run(run())


def test_threads_do_not_block_others() -> None:
    worker = Worker("py-threads")
    release = threading.Event()

    @worker.function("py-threads::block")
    def block() -> str:
        release.wait(10)
        return threading.current_thread().name

    @worker.function("py-threads::nested")
    def nested(ctx: sync.Context, name: str) -> Any:
        return [ctx.trigger("py-threads::quick", name), list(ctx.stream("py-threads::two")), ctx.cancelled]

    @worker.function("py-threads::quick")
    async def quick(name: str) -> str:
        return name

    @worker.function("py-threads::two")
    async def two() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def run() -> None:
        async with worker:
            blocked = [asyncio.create_task(worker.trigger("py-threads::block")) for _ in range(3)]
            assert await worker.trigger("py-threads::nested", "a", timeout=5) == ["a", [1, 2], False]
            release.set()
            assert all(name.startswith("agentos-handler") for name in await asyncio.gather(*blocked))

    asyncio.run(run())


def test_void_calls_run_on_their_own() -> None:
    worker = Worker("py-void")
    ran = asyncio.Event()

    @worker.function("py-void::mark")
    async def mark(word: str) -> None:
        assert word == "go"
        ran.set()

    async def run() -> None:
        async with worker:
            await worker.trigger_void("py-void::mark", "go")
            await asyncio.wait_for(ran.wait(), 5)

    asyncio.run(run())


def test_functions_come_and_go() -> None:
    async def run() -> None:
        async with Worker("py-dynamic") as worker:

            @worker.function("py-dynamic::late")
            async def late() -> int:
                return 1

            await worker.register()
            assert await worker.trigger("py-dynamic::late") == 1
            listed = await worker.trigger("engine::functions::list", {})
            assert "py-dynamic::late" in str(listed)
            await worker.unregister("py-dynamic::late")
            with pytest.raises(AgentOSError) as caught:
                await worker.trigger("py-dynamic::late")
            assert caught.value.code == "not_found"

    asyncio.run(run())


def test_a_reserved_id_is_refused() -> None:
    worker = Worker("py-reserved")

    @worker.function("engine::mine")
    async def mine() -> None: ...

    async def run() -> None:
        with pytest.raises(AgentOSError) as caught:
            await worker.connect()
        assert caught.value.code == "forbidden"
        assert worker.state is State.CLOSED

    asyncio.run(run())


def test_closing_lets_running_calls_finish() -> None:
    async def run() -> None:
        caller = Worker("py-caller")
        worker = Worker("py-closing")

        @worker.function("py-closing::slow")
        async def slow() -> str:
            await asyncio.sleep(0.3)
            return "done"

        async with caller:
            await worker.connect()
            running = asyncio.create_task(caller.trigger("py-closing::slow"))
            await asyncio.sleep(0.1)
            await worker.close()
            assert await running == "done"
            assert worker.state is State.CLOSED
            # And it may come back.
            await worker.connect()
            assert await caller.trigger("py-closing::slow") == "done"
            await worker.close()

    asyncio.run(run())


def test_many_calls_at_once() -> None:
    worker = Worker("py-many")

    @worker.function("py-many::echo")
    async def echo(number: int) -> int:
        return number

    async def run() -> None:
        async with worker:
            answers = await asyncio.gather(*(worker.trigger("py-many::echo", number) for number in range(10_000)))
            assert answers == list(range(10_000))

    asyncio.run(run())


def test_large_payloads(engine: Engine) -> None:
    worker = Worker("py-large")

    @worker.function("py-large::echo")
    async def echo(data: bytes) -> bytes:
        return data

    async def run() -> None:
        async with worker:
            data = bytes(range(256)) * 240_000
            assert await worker.trigger("py-large::echo", data) == data

    asyncio.run(run())
