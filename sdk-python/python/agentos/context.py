"""What a handler knows about the call it answers.

:class:`Context` is for asynchronous handlers, :class:`SyncContext` for those that run in a thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import MutableMapping
from typing import Any, ClassVar, Protocol

from .blocking import BlockingCalls
from .calls import Calls
from .session import Incoming, Session, Trace


class Sink(Protocol):
    """Where chunks of the result go, see ``serving``."""

    async def send(self, chunk: Any) -> None: ...


_making = threading.Lock()


class Context(Calls):
    """The call a handler is answering. Calls made through it share its deadline and its trace."""

    is_call_context: ClassVar[bool] = True

    def __init__(self, session: Session, call: Incoming, sink: Sink) -> None:
        self._session, self._call, self._sink = session, call, sink
        #: When the caller stops waiting, on the clock of :func:`time.monotonic`.
        self.deadline = time.monotonic() + call.timeout_ms / 1000
        self._cancelled: threading.Event | None = None
        #: The handler's task has taken its first step.
        self.begun = False

    @property
    def _calling(self) -> tuple[Session, Trace]:
        return self._session, self.trace

    def _limit(self, timeout: float | None) -> float | None:
        return self.time_left if timeout is None else min(timeout, self.time_left)

    @property
    def trace(self) -> Trace:
        return Trace(*self._call.trace)

    @property
    def cancelled(self) -> threading.Event:
        """Set when the caller gave up; for work in threads, which nothing can interrupt."""
        # Made when it is wanted: most calls are over before anybody could want it.
        if self._cancelled is None:
            with _making:
                self._cancelled = self._cancelled or threading.Event()
        return self._cancelled

    @property
    def was_cancelled(self) -> bool:
        return self._cancelled is not None and self._cancelled.is_set()

    @property
    def function(self) -> str:
        """The id that was called."""
        return self._call.function

    @property
    def caller(self) -> str | None:
        """Public id of the calling session, when a worker called."""
        return self._call.caller

    @property
    def time_left(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def wants_stream(self) -> bool:
        """True when the caller takes chunks."""
        return self._call.stream

    @property
    def metadata(self) -> Any:
        """The call's side-car, when the caller gave one."""
        text = self._call.metadata
        try:
            return None if text is None else json.loads(text)
        except ValueError:
            return text

    async def send(self, chunk: Any) -> None:
        """Sends one chunk of the result, from a function with ``streams=True``.

        Waits while the caller does not read. A caller that wants one reply gets the array of
        chunks, unless the function returns something else than ``None``.
        """
        await self._sink.send(chunk)

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry ``function``, ``caller`` and ``traceparent``."""
        return _Logger(logging.getLogger(f"agentos.{self.function}"), facts(self))


class SyncContext(BlockingCalls):
    """The same for a handler that runs in a thread; its calls block that thread."""

    is_call_context: ClassVar[bool] = True

    def __init__(self, context: Context, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(context, loop)
        self._context = context

    @property
    def function(self) -> str:
        """The id that was called."""
        return self._context.function

    @property
    def caller(self) -> str | None:
        """Public id of the calling session, when a worker called."""
        return self._context.caller

    @property
    def trace(self) -> Trace:
        return self._context.trace

    @property
    def deadline(self) -> float:
        """When the caller stops waiting, on the clock of :func:`time.monotonic`."""
        return self._context.deadline

    @property
    def time_left(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return self._context.time_left

    @property
    def wants_stream(self) -> bool:
        """True when the caller takes chunks."""
        return self._context.wants_stream

    @property
    def metadata(self) -> Any:
        """The call's side-car, when the caller gave one."""
        return self._context.metadata

    @property
    def cancelled(self) -> bool:
        """True when the caller gave up; long work should look at it now and then."""
        return self._context.cancelled.is_set()

    def send(self, chunk: Any) -> None:
        """Sends one chunk of the result, from a function with ``streams=True``."""
        self._wait(self._context.send(chunk))

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry ``function``, ``caller`` and ``traceparent``."""
        return self._context.logger


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Adds the call's facts to what the handler itself gives as ``extra``."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def facts(context: Context) -> dict[str, Any]:
    return {"function": context.function, "caller": context.caller, "traceparent": context.trace.parent}
