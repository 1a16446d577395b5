"""The examples in Python run as they are."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request

import pytest
from agentos import Worker
from conftest import ROOT, Engine
from test_connection import offered

pytestmark = pytest.mark.usefixtures("engine")


def test_hello_python() -> None:
    file = ROOT / "examples/hello-python/hello.py"
    assert len(file.read_text().splitlines()) <= 15
    run = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=20, check=True)
    assert run.stdout == "hello Ada\n"


def test_the_first_example_of_the_readme(engine: Engine) -> None:
    text = (ROOT / "sdk-python/README.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    caller = Worker("readme")

    async def run() -> None:
        async with caller:
            await offered(caller, "hello::greet")
            assert await caller.trigger("hello::greet", {"name": "Ada"}) == "hello Ada"
        answer = await asyncio.to_thread(urllib.request.urlopen, f"{engine.http}/hello/Ada?times=2")
        assert json.loads(answer.read()) == "hello Ada, hello Ada"

    process = subprocess.Popen([sys.executable, "-c", example], env=os.environ)
    try:
        asyncio.run(run())
    finally:
        process.terminate()
    assert process.wait(5) == 0


def test_polyglot_sum_in_python(engine: Engine) -> None:
    worker = Worker("py-sum")

    @worker.function("sum::rust")
    async def last(numbers: list[int], total: int) -> int:
        return total + sum(numbers)

    async def run() -> None:
        async with worker:
            await offered(worker, "sum::python")
            assert await worker.trigger("sum::python", {"numbers": [20, 300], "total": 1}) == 321

    file = ROOT / "examples/polyglot-sum/python/add.py"
    process = subprocess.Popen([sys.executable, file], env=os.environ)
    try:
        asyncio.run(run())
    finally:
        process.terminate()
    assert process.wait(5) == 0
