"""Calling functions: what a worker and the context of a call have in common."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import Any, Self

from . import codec
from ._agentos import STREAM_WINDOW_CHUNKS
from .codec import FORM_VALUE, Arrived, Payload
from .errors import AgentOSError, Code
from .retry import retrying
from .session import Outgoing, Session, Trace
from .stores import Items, Store

#: Longest timeout that travels, about 49 days.
_TIMEOUT_MS_MAX = 2**32 - 1


class Calls(ABC):
    """Makes calls over a session."""

    @property
    @abstractmethod
    def _calling(self) -> tuple[Session, Trace]:
        """The session, and the trace that calls belong to."""

    def _limit(self, timeout: float | None) -> float | None:
        """The seconds a call may take, given what was asked for."""
        return timeout

    async def trigger(
        self, function: str, payload: Any = None, *, timeout: float | None = None, metadata: Any = None, retries: int = 0
    ) -> Any:
        """Calls ``function`` and waits for its result.

        :param timeout: seconds; 30 unless said otherwise.
        :param metadata: JSON for the handler, beside the payload.
        :param retries: makes the call up to so many times more while its errors are ``retryable``,
            within the same timeout; for functions that may run twice: a worker that was lost may
            have done its work.
        :raises AgentOSError: the function's error, or the engine's: ``not_found``, ``timeout``,
            ``worker_lost``, ``overloaded``.

        Cancelling the task that waits cancels the call.
        """
        if retries > 0:
            limit = self._limit(timeout)
            return await retrying(
                lambda left: self.trigger(function, payload, timeout=left, metadata=metadata), retries, limit
            )
        session, call = self._outgoing(function, payload, timeout, metadata)
        body, form = await session.call(call)
        return body if form == FORM_VALUE else decoded(function, body, form)

    def stream(
        self, function: str, payload: Any = None, *, timeout: float | None = None, metadata: Any = None
    ) -> CallStream:
        """Calls ``function`` for a stream of chunks: ``async for chunk in worker.stream(...)``."""
        session, call = self._outgoing(function, payload, timeout, metadata)
        inbox = _Inbox()
        return CallStream(session, function, session.stream(call, inbox), inbox)

    async def trigger_void(
        self, function: str, payload: Any = None, *, timeout: float | None = None, metadata: Any = None
    ) -> None:
        """Calls ``function`` and does not wait; nobody hears of the outcome."""
        session, call = self._outgoing(function, payload, timeout, metadata)
        session.send(call)

    async def enqueue(
        self, function: str, data: Any = None, *, queue: str | None = None, delay: float | None = None
    ) -> str:
        """Has ``function`` called later, and again until it succeeds.

        :param queue: ``default`` unless said otherwise.
        :param delay: seconds to wait before the first attempt.
        :returns: the receipt; the message is on disk.
        """
        request = {"queue": queue, "function_id": function, "data": data}
        if delay is not None:
            request["delay_ms"] = round(delay * 1000)
        receipt: str = (await self.trigger("queue::enqueue", request))["messageReceiptId"]
        return receipt

    async def publish(self, topic: str, data: Any = None, *, durable: bool = False) -> None:
        """Tells those who listen to ``topic``.

        :param durable: every subscriber, at least once, even if it is away; otherwise those of this
            moment, at most once.
        """
        await self.trigger("queue::publish" if durable else "publish", {"topic": topic, "data": data})

    def store(self, scope: str) -> Store[Any]:
        """Values by key, kept by the engine."""
        return Store(self.trigger, scope)

    def items(self, stream: str, group: str) -> Items[Any]:
        """A group of a stream's items, which clients can watch."""
        return Items(self.trigger, stream, group)

    def _outgoing(self, function: str, payload: Any, timeout: float | None, metadata: Any) -> tuple[Session, Outgoing]:
        session, trace = self._calling
        if not function:
            raise AgentOSError(Code.INVALID_INPUT, "a call needs a function's id", origin="caller")
        data, binary = encoded(payload)
        side_car = None if metadata is None else codec.dumps(metadata).decode()
        return session, (function, data, binary, _milliseconds(self._limit(timeout)), *trace, side_car)


def _milliseconds(timeout: float | None) -> int | None:
    if timeout is None:
        return None
    if timeout <= 0:
        raise AgentOSError(Code.TIMEOUT, "the deadline passed before the call was made", origin="caller")
    return min(math.ceil(timeout * 1000), _TIMEOUT_MS_MAX) if math.isfinite(timeout) else _TIMEOUT_MS_MAX


def encoded(value: Any) -> Payload:
    try:
        return codec.encode(value)
    except (TypeError, ValueError) as error:
        raise AgentOSError(Code.INVALID_INPUT, f"the input has no JSON form: {error}", origin="caller") from error


def decoded(function: str, body: Any, form: int) -> Any:
    try:
        return codec.decode(body, form)
    except ValueError as error:
        raise AgentOSError(Code.INVALID_INPUT, f"the result of `{function}` is not JSON: {error}") from error


class _Inbox:
    """Chunks that came and were not read yet; the credit granted bounds it."""

    def __init__(self) -> None:
        self.chunks: deque[Arrived] = deque()
        self.outcome: Arrived | AgentOSError | None = None
        self.news = asyncio.Event()

    def on_chunk(self, payload: Arrived) -> None:
        self.chunks.append(payload)
        self.news.set()

    def on_done(self, outcome: Arrived | AgentOSError) -> None:
        self.outcome = outcome
        self.news.set()


class CallStream:
    """A streamed result: chunks, then one outcome.

    Reading grants the function credit; not reading makes it wait. Leaving the stream before its
    end, by ``aclose`` or by dropping it, cancels the call.
    """

    def __init__(self, session: Session, function: str, id: int, inbox: _Inbox) -> None:
        self._session, self._function, self._id, self._inbox = session, function, id, inbox
        self._read = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        inbox = self._inbox
        while not inbox.chunks and inbox.outcome is None:
            inbox.news.clear()
            await inbox.news.wait()
        if inbox.chunks:
            self._grant()
            return decoded(self._function, *inbox.chunks.popleft())
        if isinstance(inbox.outcome, AgentOSError):
            raise inbox.outcome
        raise StopAsyncIteration

    def _grant(self) -> None:
        self._read += 1
        if self._read >= STREAM_WINDOW_CHUNKS // 2 and self._inbox.outcome is None:
            self._session.read(self._id, self._read)
            self._read = 0

    async def result(self) -> Any:
        """What the function returned at the end; chunks not read yet are dropped.

        :raises AgentOSError: the function's error, or the engine's.
        """
        async for _ in self:
            pass
        outcome = self._inbox.outcome
        return None if outcome is None or isinstance(outcome, AgentOSError) else decoded(self._function, *outcome)

    def cancel(self) -> None:
        """Ends the call now; nothing if it has ended."""
        self._session.cancel(self._id)
        if self._inbox.outcome is None:
            self._inbox.on_done(AgentOSError(Code.CANCELLED, "the stream was closed", origin="caller"))

    async def aclose(self) -> None:
        self.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def __del__(self) -> None:
        loop = self._session.loop
        if self._inbox.outcome is None and not loop.is_closed():
            # The last reference may go on any thread.
            loop.call_soon_threadsafe(self._session.cancel, self._id)
