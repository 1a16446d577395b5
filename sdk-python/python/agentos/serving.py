"""Runs handlers: one task per call, one outcome per task.

Synchronous handlers run in a pool of threads of their own, so that they never block others.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from . import codec, logs
from .codec import Payload
from .context import Context, SyncContext
from .errors import AgentOSError, Code, from_exception
from .functions import Function, Kind
from .session import Incoming, Session

log = logging.getLogger("agentos")

#: Bytes of chunks kept for a caller that wants one reply; the size of the largest message.
_COLLECT_BYTES_MAX = 64 << 20


class Server:
    """Answers the calls of one session."""

    def __init__(self, session: Session, functions: dict[str, Function], threads: int) -> None:
        self._session, self._functions = session, functions
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="agentos-handler")
        self._running: dict[int, tuple[asyncio.Task[None], Context]] = {}
        self._threads: set[Future[Any]] = set()

    @property
    def threads_busy(self) -> int:
        """Handlers that a thread is working on; a thread cannot be stopped."""
        return sum(work.running() for work in list(self._threads))

    def on_call(self, call: Incoming) -> None:
        sink = Sink(self._session, call)
        context = Context(self._session, call, sink)
        task = self._session.loop.create_task(self._answer(call, context, sink))
        # An eager task may be through already.
        if not task.done():
            self._running[call.id] = task, context

    def on_cancel(self, id: int) -> None:
        if running := self._running.get(id):
            task, context = running
            context.cancelled.set()
            # A task that has not begun would end without an answer.
            if context.begun:
                task.cancel()

    def stop(self) -> None:
        """Cancels what still runs."""
        for id in list(self._running):
            self.on_cancel(id)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, call: Incoming, context: Context, sink: Sink) -> None:
        context.begun = True
        # The task's own: it ends with it.
        logs.current.set(context)
        try:
            payload = await self._run(call, context, sink)
        except asyncio.CancelledError:
            self._session.fail(call.id, AgentOSError(Code.CANCELLED, "the call was cancelled"))
        except AgentOSError as error:
            self._session.fail(call.id, error)
        except BaseException as error:
            log.warning("handler of %s failed", call.function, exc_info=error)
            self._session.fail(call.id, from_exception(error))
            if not isinstance(error, Exception):
                raise
        else:
            self._session.reply(call.id, payload)
        finally:
            self._running.pop(call.id, None)

    async def _run(self, call: Incoming, context: Context, sink: Sink) -> Payload:
        function = self._functions.get(call.function)
        if function is None:
            raise AgentOSError(Code.NOT_FOUND, f"the worker has no function `{call.function}`")
        if context.was_cancelled:
            raise asyncio.CancelledError
        kind = function.kind
        own = SyncContext(context, self._session.loop) if kind.threaded else context
        positional, named = function.arguments(call.body, call.form, own)
        if kind is Kind.COROUTINE:
            result = await function.run(*positional, **named)
        else:
            result = await self._result(kind, functools.partial(function.run, *positional, **named), sink)
        return sink.finish(function.finish(result))

    async def _result(self, kind: Kind, work: Callable[[], Any], sink: Sink) -> Any:
        match kind:
            case Kind.ASYNC_GENERATOR:
                return await _drain(work(), sink)
            case Kind.PLAIN:
                return await self._in_thread(work)
            case Kind.GENERATOR:
                return await self._in_thread(functools.partial(self._pour, work, sink))

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        working = self._pool.submit(contextvars.copy_context().run, work)
        self._threads.add(working)
        working.add_done_callback(self._threads.discard)
        return await asyncio.wrap_future(working)

    def _pour(self, work: Callable[[], Iterator[Any]], sink: Sink) -> Any:
        """Sends what a generator yields, from its thread, at the pace of the caller."""
        chunks = work()
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as end:
                return end.value
            asyncio.run_coroutine_threadsafe(sink.send(chunk), self._session.loop).result()


async def _drain(chunks: Any, sink: Sink) -> None:
    try:
        async for chunk in chunks:
            await sink.send(chunk)
    finally:
        await chunks.aclose()


class Sink:
    """Where the chunks of one result go: to the caller, or into its one reply."""

    def __init__(self, session: Session, call: Incoming) -> None:
        self._session, self._id, self._stream = session, call.id, call.stream
        self._collected: list[Payload] = []
        self._bytes = 0
        self._turn: asyncio.Lock | None = None

    async def send(self, chunk: Any) -> None:
        payload = encoded(chunk, "chunk")
        if self._stream:
            self._turn = self._turn or asyncio.Lock()
            async with self._turn:
                await self._session.chunk(self._id, payload)
            return
        self._bytes += len(payload.data)
        if self._bytes > _COLLECT_BYTES_MAX:
            message = "the collected stream is larger than 64 MiB; call it as a stream"
            raise AgentOSError(Code.PAYLOAD_TOO_LARGE, message)
        self._collected.append(payload)

    def finish(self, result: Any) -> Payload:
        """The reply, given what the function returned."""
        if result is None and self._collected:
            return _collect(self._collected)
        return encoded(result, "result")


def _collect(chunks: list[Payload]) -> Payload:
    """Chunks as one payload: a JSON array, or the bytes in a row when all are binary."""
    if all(chunk.binary for chunk in chunks):
        return Payload(b"".join(chunk.data for chunk in chunks), True)
    return Payload(b"[" + b",".join(chunk.data for chunk in chunks if not chunk.binary) + b"]")


def encoded(value: Any, what: str) -> Payload:
    try:
        return codec.encode(value)
    except (TypeError, ValueError) as error:
        raise AgentOSError(Code.FAILED, f"the {what} has no JSON form: {error}") from error
