"""One session with an engine, tied to an asyncio event loop.

Turns the mailbox's events into finished futures, and belongs to one loop: every method is called
on its thread. Knows payloads as bytes only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

from . import _agentos
from .codec import Payload
from .errors import AgentOSError, Code, from_wire

log = logging.getLogger("agentos")

#: Events handled before other work of the loop gets its turn.
_BATCH = 256


class State(StrEnum):
    """Where a worker's connection stands."""

    CONNECTING = "connecting"
    #: The engine has welcomed the session.
    CONNECTED = "connected"
    #: The connection is gone and will be made again.
    DISCONNECTED = "disconnected"
    #: The engine refused the token; tried again, since it may be set right meanwhile.
    REFUSED = "refused"
    CLOSED = "closed"


class Trace(NamedTuple):
    """W3C trace context, passed through untouched."""

    parent: str | None = None
    baggage: str | None = None


class Incoming(NamedTuple):
    """A call to be answered."""

    id: int
    function: str
    data: bytes
    binary: bool
    stream: bool
    timeout_ms: int
    caller: str | None
    trace: tuple[str | None, str | None]
    metadata: str | None


class Outgoing(NamedTuple):
    """A call to be made."""

    function: str
    payload: Payload
    timeout_ms: int | None = None
    trace: Trace = Trace()
    metadata: str | None = None


class Handler(Protocol):
    """Who answers calls, see ``serving``."""

    def on_call(self, call: Incoming) -> None: ...
    def on_cancel(self, id: int) -> None: ...


class Waiter(Protocol):
    """Who waits for one call of ours."""

    def on_chunk(self, payload: Payload) -> None: ...
    def on_done(self, outcome: Payload | AgentOSError) -> None: ...


class Session:
    def __init__(self, options: dict[str, Any], on_state: Callable[[State, str], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.state, self.message = State.CONNECTING, ""
        self.handler: Handler | None = None
        self._on_state = on_state
        self._waiters: dict[int, Waiter] = {}
        self._credits: dict[int, asyncio.Future[None]] = {}
        self._registrations: dict[int, asyncio.Future[list[tuple[str, str]]]] = {}
        self._changed = asyncio.Event()
        with raised():
            self._mailbox = _agentos.Mailbox(**options)
        self.loop.add_reader(self._mailbox.fileno(), self._pump)

    # ── Events ──────────────────────────────────────────────────────────────────────────────

    def _pump(self) -> None:
        events = self._mailbox.drain(_BATCH)
        for event in events:
            try:
                _REACTIONS[event[0]](self, *event[1:])
            except Exception:
                log.exception("an event could not be handled")
        if len(events) == _BATCH and self.state is not State.CLOSED:
            self.loop.call_soon(self._pump)

    def _on_call(self, *call: Any) -> None:
        if self.handler is not None:
            self.handler.on_call(Incoming(*call))

    def _on_cancel(self, id: int) -> None:
        if self.handler is not None:
            self.handler.on_cancel(id)

    def _on_credit(self, id: int) -> None:
        settle(self._credits.pop(id, None), None)

    def _on_chunk(self, id: int, data: bytes, binary: bool) -> None:
        if waiter := self._waiters.get(id):
            waiter.on_chunk(Payload(data, binary))

    def _on_done(self, id: int, data: bytes, binary: bool, error: str | None) -> None:
        if waiter := self._waiters.pop(id, None):
            waiter.on_done(Payload(data, binary) if error is None else from_wire(error))

    def _on_registered(self, id: int, rejected: list[tuple[str, str]]) -> None:
        settle(self._registrations.pop(id, None), rejected)

    def _on_changed(self, state: str, message: str) -> None:
        self.state, self.message = State(state), message
        self._changed.set()
        self._changed = asyncio.Event()
        if self.state is State.CLOSED:
            self.loop.remove_reader(self._mailbox.fileno())
        self._on_state(self.state, message)

    async def wait_for(self, *states: State) -> State:
        """Waits until the connection stands at one of ``states``."""
        while self.state not in states:
            await self._changed.wait()
        return self.state

    # ── Offering ────────────────────────────────────────────────────────────────────────────

    async def register(self, registration: str) -> list[tuple[str, AgentOSError]]:
        """Offers functions and triggers; what the engine refused, and why."""
        with raised():
            id = self._mailbox.register(registration)
        answer = self._registrations[id] = self.loop.create_future()
        try:
            return [(refused, from_wire(error)) for refused, error in await answer]
        finally:
            self._registrations.pop(id, None)

    def unregister(self, functions: list[str], triggers: list[str]) -> None:
        with raised():
            self._mailbox.unregister(functions, triggers)

    # ── Calling ─────────────────────────────────────────────────────────────────────────────

    def start(self, call: Outgoing, delivery: Literal["reply", "stream", "void"], waiter: Waiter | None) -> int:
        """Makes a call; ``waiter`` hears of its outcome."""
        (data, binary), trace = call.payload, call.trace
        with raised():
            id = self._mailbox.call(
                call.function, data, binary, delivery, call.timeout_ms, trace.parent, trace.baggage, call.metadata
            )
        if waiter is not None:
            self._waiters[id] = waiter
        return id

    def cancel(self, id: int) -> None:
        """Gives up on a call of ours; nothing if it has ended."""
        if self._waiters.pop(id, None) is not None:
            self._mailbox.cancel(id)

    def read(self, id: int, chunks: int) -> None:
        self._mailbox.read(id, chunks)

    # ── Answering ───────────────────────────────────────────────────────────────────────────

    def reply(self, id: int, payload: Payload) -> None:
        self._mailbox.reply(id, *payload)

    def fail(self, id: int, error: AgentOSError) -> None:
        self._mailbox.fail(id, error.to_wire())

    async def chunk(self, id: int, payload: Payload) -> None:
        """Sends a chunk of a result; waits while the caller does not read. One at a time per call."""
        with raised():
            while not self._mailbox.chunk(id, *payload):
                credit = self._credits[id] = self.loop.create_future()
                try:
                    await credit
                finally:
                    self._credits.pop(id, None)

    def close(self) -> None:
        self._mailbox.close()


_REACTIONS: dict[int, Callable[..., None]] = {
    _agentos.CALL: Session._on_call,
    _agentos.CANCEL: Session._on_cancel,
    _agentos.CREDIT: Session._on_credit,
    _agentos.CHUNK: Session._on_chunk,
    _agentos.DONE: Session._on_done,
    _agentos.REGISTERED: Session._on_registered,
    _agentos.STATE: Session._on_changed,
}


def settle(future: asyncio.Future[Any] | None, result: Any) -> None:
    if future is not None and not future.done():
        future.set_result(result)


class raised:
    """Turns the native module's exception into the public one."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, _agentos.Refusal):
            raise from_wire(error.args[0]) from None


def unavailable(message: str) -> AgentOSError:
    return AgentOSError(Code.UNAVAILABLE, message, origin="engine")
