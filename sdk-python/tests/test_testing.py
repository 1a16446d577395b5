"""The test harness, as a test of a worker uses it."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path

import pytest
from agentos import AgentOSError, State, Worker
from agentos.testing import Engine
from conftest import BINARY


def hello() -> Worker:
    worker = Worker("hello", url="ws://127.0.0.1:1", token="for another engine")

    @worker.function("hello::greet")
    @worker.http("GET", "/hello/:name", auth="none")
    async def greet(name: str) -> str:
        return f"hello {name}"

    return worker


def test_a_worker_joins_an_engine_of_the_test() -> None:
    worker = hello()

    async def run(engine: Engine) -> None:
        async with engine.join(worker) as bus:
            assert await bus.trigger("hello::greet", {"name": "Ada"}) == "hello Ada"
            answer = await asyncio.to_thread(urllib.request.urlopen, f"{engine.http}/hello/Ada")
            assert answer.read() == b'"hello Ada"'
        assert worker.state is State.CLOSED
        async with engine.join(worker) as bus:
            assert await bus.trigger("hello::greet", "again") == "hello again"

    with Engine(BINARY) as engine:
        folder = engine.data_dir
        asyncio.run(run(engine))
    assert not folder.exists()


def test_the_engine_may_die_and_come_back() -> None:
    async def run(engine: Engine) -> None:
        async with engine.join(hello()) as bus:
            engine.kill()
            with pytest.raises(AgentOSError) as caught:
                await bus.trigger("hello::greet", "Ada", timeout=0.2)
            assert caught.value.code in ("unavailable", "timeout")
            await asyncio.to_thread(engine.start)
            async with asyncio.timeout(20):
                while True:
                    try:
                        assert await bus.trigger("hello::greet", "Ada") == "hello Ada"
                        break
                    except AgentOSError as error:
                        assert error.code in ("unavailable", "not_found")

    with Engine(BINARY) as engine:
        asyncio.run(run(engine))


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="AGENTOS_BIN"):
        Engine(tmp_path / "nothing").start()
    with pytest.raises(RuntimeError, match="no_such_setting"):
        Engine(BINARY, config={"no_such_setting": 1}).start()
