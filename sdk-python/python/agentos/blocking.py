"""Calls that block a thread while an event loop in another thread makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from .calls import Calls, CallStream
from .stores import Entry, Items, Store, Written

#: Runs a coroutine elsewhere and waits for its result.
Wait = Callable[[Coroutine[Any, Any, Any]], Any]


class BlockingCalls:
    """The calls of a worker or a context, each waiting for its outcome."""

    def __init__(self, calls: Calls, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._calls, self._loop = calls, loop

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return wait(self._loop, work)

    def trigger(
        self, function: str, payload: Any = None, *, timeout: float | None = None, metadata: Any = None, retries: int = 0
    ) -> Any:
        """Calls ``function`` and waits for its result.

        :param timeout: seconds; 30 unless said otherwise.
        :param metadata: JSON for the handler, beside the payload.
        :param retries: how many times more it is made while its errors are ``retryable``.
        :raises AgentOSError: the function's error, or the engine's: ``not_found``, ``timeout``,
            ``worker_lost``, ``overloaded``.
        """
        return self._wait(self._calls.trigger(function, payload, timeout=timeout, metadata=metadata, retries=retries))

    def stream(
        self, function: str, payload: Any = None, *, timeout: float | None = None, metadata: Any = None
    ) -> Stream:
        """Calls ``function`` for a stream of chunks: ``for chunk in worker.stream(...)``."""

        async def start() -> CallStream:
            return self._calls.stream(function, payload, timeout=timeout, metadata=metadata)

        return Stream(self._wait(start()), self._loop)

    def trigger_void(
        self, function: str, payload: Any = None, *, timeout: float | None = None, metadata: Any = None
    ) -> None:
        """Calls ``function`` and does not wait; nobody hears of the outcome."""
        self._wait(self._calls.trigger_void(function, payload, timeout=timeout, metadata=metadata))

    def enqueue(self, function: str, data: Any = None, *, queue: str | None = None, delay: float | None = None) -> str:
        """Has ``function`` called later, see :meth:`agentos.Worker.enqueue`."""
        receipt: str = self._wait(self._calls.enqueue(function, data, queue=queue, delay=delay))
        return receipt

    def publish(self, topic: str, data: Any = None, *, durable: bool = False) -> None:
        """Tells those who listen to ``topic``, see :meth:`agentos.Worker.publish`."""
        self._wait(self._calls.publish(topic, data, durable=durable))

    def store(self, scope: str) -> BlockingStore:
        """Values by key, kept by the engine."""
        return BlockingStore(self._calls.store(scope), self._wait)

    def items(self, stream: str, group: str) -> BlockingItems:
        """A group of a stream's items, which clients can watch."""
        return BlockingItems(self._calls.items(stream, group), self._wait)


class BlockingStore:
    """:class:`agentos.Store` for threads that wait."""

    def __init__(self, store: Store[Any], wait: Wait) -> None:
        self._store, self._wait = store, wait

    def get(self, key: str) -> Any:
        return self._wait(self._store.get(key))

    def set(self, key: str, value: Any, **options: Any) -> Written:
        written: Written = self._wait(self._store.set(key, value, **options))
        return written

    def update(self, key: str, ops: list[dict[str, Any]], **options: Any) -> Written:
        written: Written = self._wait(self._store.update(key, ops, **options))
        return written

    def delete(self, key: str, *, expected_version: int | None = None) -> Any:
        return self._wait(self._store.delete(key, expected_version=expected_version))

    def entries(self, prefix: str | None = None) -> list[Entry[Any]]:
        """All entries in order of their keys."""

        async def all() -> list[Entry[Any]]:
            return [entry async for entry in self._store.entries(prefix)]

        entries: list[Entry[Any]] = self._wait(all())
        return entries


class BlockingItems:
    """:class:`agentos.Items` for threads that wait."""

    def __init__(self, items: Items[Any], wait: Wait) -> None:
        self._items, self._wait = items, wait

    def get(self, id: str) -> Any:
        return self._wait(self._items.get(id))

    def set(self, id: str, data: Any) -> Written:
        written: Written = self._wait(self._items.set(id, data))
        return written

    def update(self, id: str, ops: list[dict[str, Any]]) -> Written:
        written: Written = self._wait(self._items.update(id, ops))
        return written

    def delete(self, id: str) -> Any:
        return self._wait(self._items.delete(id))

    def all(self) -> list[Any]:
        """The group's items, by id."""
        items: list[Any] = self._wait(self._items.all())
        return items

    def send(self, type: str, data: Any = None, *, id: str | None = None) -> None:
        self._wait(self._items.send(type, data, id=id))


class Stream:
    """A streamed result, read with ``for``. Leaving it before its end cancels the call."""

    def __init__(self, stream: CallStream, loop: asyncio.AbstractEventLoop | None) -> None:
        self._stream, self._loop = stream, loop

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        chunk = wait(self._loop, _next(self._stream))
        if chunk is _END:
            raise StopIteration
        return chunk

    def result(self) -> Any:
        """What the function returned at the end; chunks not read yet are dropped."""
        return wait(self._loop, self._stream.result())

    def close(self) -> None:
        wait(self._loop, self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_END = object()


async def _next(stream: CallStream) -> Any:
    return await anext(stream, _END)


def wait(loop: asyncio.AbstractEventLoop | None, work: Coroutine[Any, Any, Any]) -> Any:
    """Runs ``work`` on ``loop`` and waits for it; an interrupt of this thread cancels it.

    :raises RuntimeError: on the loop's own thread, which would wait for itself.
    """
    if loop is None:
        work.close()
        raise RuntimeError("the worker is not connected: use `with worker:` or `worker.run()`")
    if _running() is loop:
        work.close()
        raise RuntimeError("a blocking call inside the event loop; an async handler uses agentos.Context")
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
