"""Finding an engine, losing it, and being a program."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from agentos import AgentOSError, State, Worker
from conftest import Engine, start, stop

PROGRAM = """
import asyncio, time
from agentos import HttpResponse, Worker

worker = Worker("py-program")

@worker.function("py-program::slow")
async def slow() -> str:
    await asyncio.sleep(0.5)
    return "finished"

@worker.http("GET", "/py/hello/:name", auth="none")
async def hello(name: str, times: int = 1) -> HttpResponse:
    return HttpResponse({"said": f"hello {name}" * times}, headers={"x-from": "python"})

@worker.function("py-program::stuck")
def stuck() -> None:
    time.sleep(60)

@worker.http("GET", "/py/count", auth="none")
async def count():
    for number in range(3):
        yield {"number": number}

worker.run()
"""


@pytest.fixture
def program(engine: Engine, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(PROGRAM))
    process = subprocess.Popen(
        [sys.executable, file], env=os.environ | {"AGENTOS_URL": engine.url}, stderr=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.wait()


async def offered(caller: Worker, function: str) -> None:
    async with asyncio.timeout(10):
        while function not in str(await caller.trigger("engine::functions::list", {})):
            await asyncio.sleep(0.02)


def test_no_engine(home: Path) -> None:
    async def run() -> None:
        worker = Worker("py-lost", url="ws://127.0.0.1:9")
        with pytest.raises(AgentOSError, match="start one with `agentos start`") as caught:
            await worker.connect(timeout=0.3)
        assert caught.value.code == "unavailable"
        assert worker.state is State.CLOSED

    asyncio.run(run())


def test_a_wrong_token(engine: Engine) -> None:
    async def run() -> None:
        with pytest.raises(AgentOSError) as caught:
            await Worker("py-stranger", token="wrong").connect()
        assert caught.value.code == "unauthenticated"

    asyncio.run(run())


def test_a_call_without_a_connection() -> None:
    with pytest.raises(AgentOSError, match="the worker is not connected"):
        asyncio.run(Worker("py-early").trigger("a::b"))


def test_comes_back_after_the_engine_did(home: Path, tmp_path: Path) -> None:
    engine = start(tmp_path)
    port = int(engine.url.rsplit(":", 1)[1])
    states: list[State] = []

    async def run() -> None:
        nonlocal engine
        worker = Worker("py-back", url=engine.url)
        worker.on_state(lambda state, _: states.append(state))

        @worker.function("py-back::echo")
        async def echo(word: str) -> str:
            return word

        @worker.function("py-back::wait")
        async def wait() -> None:
            await asyncio.sleep(30)

        async with worker:
            waiting = asyncio.create_task(worker.trigger("py-back::wait"))
            await asyncio.sleep(0.1)
            engine.process.kill()
            engine.process.wait()
            with pytest.raises(AgentOSError) as caught:
                await asyncio.wait_for(waiting, 5)
            assert caught.value.retryable
            engine = await asyncio.to_thread(start, tmp_path, port)
            # Made while the engine was away, it waits for it; functions are there again.
            async with asyncio.timeout(10):
                while True:
                    try:
                        assert await worker.trigger("py-back::echo", "again", timeout=10) == "again"
                        return
                    except AgentOSError as error:
                        assert error.code == "not_found"

    try:
        asyncio.run(run())
    finally:
        stop(engine)
    assert [State.CONNECTED, State.CONNECTED] == [state for state in states if state is State.CONNECTED]
    assert State.DISCONNECTED in states
    assert states[-1] is State.CLOSED


def test_a_program_answers_http(engine: Engine, program: subprocess.Popen[str]) -> None:
    def get(path: str) -> tuple[int, dict[str, str], str]:
        try:
            with urllib.request.urlopen(engine.http + path) as answer:
                return answer.status, dict(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read().decode()

    async def run() -> None:
        async with Worker("py-http-caller") as caller:
            await offered(caller, "py-program::count_http")
        status, headers, body = await asyncio.to_thread(get, "/py/hello/Ada?times=2")
        assert (status, json.loads(body), headers["x-from"]) == (200, {"said": "hello Adahello Ada"}, "python")
        status, _, body = await asyncio.to_thread(get, "/py/hello/Ada?times=many")
        assert status == 422
        assert "times: expected an integer, got string" in body
        _, headers, body = await asyncio.to_thread(get, "/py/count")
        assert headers["content-type"] == "text/event-stream"
        assert body == 'data: {"number":0}\n\ndata: {"number":1}\n\ndata: {"number":2}\n\n'

    asyncio.run(run())


def test_a_program_finishes_its_calls_at_sigterm(engine: Engine, program: subprocess.Popen[str]) -> None:
    async def run() -> None:
        async with Worker("py-program-caller") as caller:
            await offered(caller, "py-program::slow")
            slow = asyncio.create_task(caller.trigger("py-program::slow"))
            await asyncio.sleep(0.2)
            program.send_signal(signal.SIGTERM)
            assert await slow == "finished"
        assert await asyncio.to_thread(program.wait, 5) == 0

    asyncio.run(run())


def test_a_second_signal_does_not_wait(engine: Engine, program: subprocess.Popen[str]) -> None:
    async def run() -> None:
        async with Worker("py-impatient") as caller:
            await offered(caller, "py-program::stuck")
            stuck = asyncio.create_task(caller.trigger("py-program::stuck"))
            await asyncio.sleep(0.2)
            program.send_signal(signal.SIGINT)
            await asyncio.sleep(0.2)
            assert program.poll() is None
            program.send_signal(signal.SIGINT)
            with pytest.raises(AgentOSError) as caught:
                await asyncio.wait_for(stuck, 2)
            assert caught.value.code == "cancelled"
        assert await asyncio.to_thread(program.wait, 5) == 0

    asyncio.run(run())


def test_a_killed_program_fails_its_calls_at_once(engine: Engine, program: subprocess.Popen[str]) -> None:
    async def run() -> None:
        async with Worker("py-witness") as caller:
            await offered(caller, "py-program::slow")
            slow = asyncio.create_task(caller.trigger("py-program::slow"))
            await asyncio.sleep(0.2)
            program.kill()
            async with asyncio.timeout(0.25):
                with pytest.raises(AgentOSError) as caught:
                    await slow
            assert caught.value.code == "worker_lost"

    asyncio.run(run())


def test_a_program_without_an_engine_waits_and_stops_when_told(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text('from agentos import Worker\nWorker("py-patient").run()\n')
    process = subprocess.Popen(
        [sys.executable, file], env=os.environ | {"AGENTOS_URL": "ws://127.0.0.1:9"}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "no connection to ws://127.0.0.1:9" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0


def test_the_first_example_of_the_readme_works_as_written(engine: Engine, tmp_path: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    file = tmp_path / "example.py"
    file.write_text(readme.split("```python\n")[1].split("```")[0])
    process = subprocess.Popen([sys.executable, file], env=os.environ | {"AGENTOS_URL": engine.url})

    async def run() -> None:
        async with Worker("py-readme") as caller:
            await offered(caller, "hello::greet_http")
            assert await caller.trigger("hello::greet", {"name": "Ada"}) == "hello Ada"

    try:
        asyncio.run(run())
        with urllib.request.urlopen(f"{engine.http}/hello/Ada?times=2") as answer:
            assert json.load(answer) == "hello Ada, hello Ada"
    finally:
        process.terminate()
    assert process.wait(5) == 0
