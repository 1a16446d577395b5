"""An engine of its own for a test: free ports, a temporary folder, nothing of this account's.

::

    from agentos.testing import Engine
    from hello import worker

    def test_greets() -> None:
        async def run() -> None:
            with Engine() as engine:
                async with engine.join(worker) as bus:
                    assert await bus.trigger("hello::greet", {"name": "Ada"}) == "hello Ada"

        asyncio.run(run())
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .worker import Worker

#: How long an engine may take to be there; generous for a busy machine.
_START_SECONDS = 20.0
_STOP_SECONDS = 15.0
#: Lines of the engine's output that are kept for who asks what went wrong.
_LINES_MAX = 200


class Engine:
    """Starts the program ``agentos`` when it is entered, and ends it when it is left.

    :param binary: the program; otherwise ``AGENTOS_BIN``, or the one in ``PATH``.
    :param config: settings, as in ``config.yaml``.
    :param arguments: more for ``agentos start``.
    """

    def __init__(
        self, binary: str | os.PathLike[str] | None = None, *, config: Mapping[str, Any] | None = None,
        arguments: tuple[str, ...] = ("--no-workers",),
    ) -> None:
        self._binary, self._config, self._arguments = binary, config, arguments
        self._process: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=_LINES_MAX)
        self._folder = ""
        #: Where the bus, HTTP and clients of streams are, and what opens them.
        self.url, self.http, self.stream, self.token = "", "", "", ""

    @property
    def output(self) -> str:
        """What the engine has said lately."""
        return "".join(self._lines)

    @property
    def data_dir(self) -> Path:
        return Path(self._folder, "data")

    def start(self) -> Self:
        """Starts it; again after :meth:`kill`, at the same place and with the same data.

        :raises FileNotFoundError: when there is no program to start.
        :raises RuntimeError: when it does not start, with what it said.
        """
        binary = _find(self._binary)
        self._folder = self._folder or tempfile.mkdtemp(prefix="agentos-test-")
        settings = Path(self._folder, "config.yaml")
        # JSON is YAML.
        settings.write_text(json.dumps(dict(self._config or {})))
        ports = [_port(place) for place in (self.url, self.http, self.stream)]
        where = ["--bus-port", ports[0], "--http-port", ports[1], "--stream-port", ports[2]]
        command: list[str | Path] = [binary, "start", "--json", "--config", settings, "--data-dir", self.data_dir, *where]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENTOS_")}
        self._process = subprocess.Popen(
            [*command, *self._arguments], cwd=self._folder, env={**environment, "AGENTOS_HOME": self._folder},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        news: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process, news), daemon=True).start()
        try:
            ready = _ready(news)
        except RuntimeError as error:
            self.stop()
            raise RuntimeError(f"{error}:\n{self.output}") from None
        self.url, self.http, self.stream, self.token = (ready[key] for key in ("url", "http", "stream", "token"))
        return self

    def _listen(self, process: subprocess.Popen[str], news: queue.Queue[dict[str, Any] | None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.append(line)
            with contextlib.suppress(ValueError):
                if isinstance(said := json.loads(line), dict):
                    news.put(said)
        news.put(None)

    def worker(self, name: str, **options: Any) -> Worker:
        """A worker that knows this engine, not connected."""
        return Worker(name, **{"url": self.url, "token": self.token, **options})

    @contextlib.asynccontextmanager
    async def join(self, *workers: Worker) -> AsyncIterator[Worker]:
        """Connects ``workers`` to this engine, whatever engine they were meant for, and gives one more,
        through which a test calls them; closes all at the end."""
        async with contextlib.AsyncExitStack() as stack:
            for worker in (*workers, self.worker("test")):
                stack.enter_context(worker.elsewhere(url=self.url, token=self.token))
                bus = await stack.enter_async_context(worker)
            yield bus

    def kill(self) -> None:
        """Ends it as a power cut would; :meth:`start` starts it again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ends it and deletes its data."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _find(binary: str | os.PathLike[str] | None) -> str:
    wanted = os.fspath(binary) if binary is not None else os.environ.get("AGENTOS_BIN", "agentos")
    found = shutil.which(wanted)
    if found is None:
        raise FileNotFoundError(f"no program `{wanted}`: install agentos, or say where it is by AGENTOS_BIN")
    return str(Path(found).resolve())


def _port(place: str) -> str:
    """The port of an earlier start; 0 picks a free one."""
    return place.rsplit(":", 1)[-1].rstrip("/") if place else "0"


def _ready(news: queue.Queue[dict[str, Any] | None]) -> dict[str, Any]:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            said = news.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise RuntimeError(f"the engine was not ready in {_START_SECONDS:g} s") from None
        if said is None:
            raise RuntimeError("the engine did not start")
        if said.get("event") == "ready":
            return said
