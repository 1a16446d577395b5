"""The same worker for programs without asyncio: every call waits for its outcome.

An event loop runs in a thread of its own; the calls of this thread are handed to it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from . import worker
from .blocking import BlockingCalls, Stream
from .context import SyncContext as Context
from .offers import Offers
from .session import State

__all__ = ["Context", "Stream", "Worker"]


class Worker(Offers, BlockingCalls):
    """A program that offers functions on the bus, and calls those of others.

    Takes what :class:`agentos.Worker` takes. Handlers may be plain functions, which run in threads,
    or coroutines.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self._worker = worker.Worker(name, **options)
        self._book = self._worker._book
        self._thread: threading.Thread | None = None
        super().__init__(self._worker)

    @property
    def name(self) -> str:
        return self._worker.name

    @property
    def state(self) -> State:
        """Where the connection stands; it is made again by itself when it breaks."""
        return self._worker.state

    def on_state(self, watcher: Callable[[State, str], object]) -> Callable[[State, str], object]:
        """Tells ``watcher(state, message)`` of every change, in the thread of the event loop."""
        return self._worker.on_state(watcher)

    def connect(self, timeout: float | None = 10.0) -> None:
        """Opens a session and registers what is offered, see :meth:`agentos.Worker.connect`."""
        if self._loop is not None:
            raise RuntimeError("the worker is connected already")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agentos-loop", daemon=True)
        self._thread.start()
        try:
            self._wait(self._worker.connect(timeout))
        except BaseException:
            self._end()
            raise

    def register(self) -> None:
        """Tells the engine what was added since the worker connected."""
        self._wait(self._worker.register())

    def unregister(self, *functions: str) -> None:
        """Takes functions back, and the triggers that this worker bound to them."""
        self._wait(self._worker.unregister(*functions))

    def close(self) -> None:
        """Takes no new calls, lets running ones finish (10 s at most), then ends the session."""
        if self._loop is None:
            return
        try:
            self._wait(self._worker.close())
        finally:
            self._end()

    def _end(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; blocks. The ``main`` of a worker program."""
        self._worker.run()
