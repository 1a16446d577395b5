"""One session with an engine, tied to an asyncio event loop.

Turns the mailbox's events into finished futures, collects what it is to do, and belongs to one loop: every method is called
on its thread. Knows payloads as bytes only.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from . import _agentos
from .codec import Arrived, Payload
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
    body: Any
    #: How ``body`` stands there, see ``codec``.
    form: int
    stream: bool
    timeout_ms: int
    caller: str | None
    trace: tuple[str | None, str | None]
    metadata: str | None


#: A call to be made: function, bytes of the payload, whether they are binary, the timeout in ms or
#: ``None``, traceparent, baggage, JSON text of the metadata.
Outgoing = tuple[str, bytes, bool, int | None, str | None, str | None, str | None]


class Handler(Protocol):
    """Who answers calls, see ``serving``."""

    def on_call(self, call: Incoming) -> None: ...
    def on_cancel(self, id: int) -> None: ...


class Inbox(Protocol):
    """Who waits for the chunks of a streaming call of ours, and for its outcome."""

    def on_chunk(self, payload: Arrived) -> None: ...
    def on_done(self, outcome: Arrived | AgentOSError) -> None: ...


class Session:
    def __init__(self, options: dict[str, Any], on_state: Callable[[State, str], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.state, self.message = State.CONNECTING, ""
        self.handler: Handler | None = None
        self._on_state = on_state
        self._replies: dict[int, asyncio.Future[Arrived]] = {}
        self._inboxes: dict[int, Inbox] = {}
        self._calls = itertools.count(1)
        #: What the native module is to do, told to it once per turn of the loop.
        self._orders: list[tuple[Any, ...]] = []
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

    def _on_chunk(self, id: int, body: Any, form: int) -> None:
        if inbox := self._inboxes.get(id):
            inbox.on_chunk(Arrived(body, form))

    def _on_done(self, id: int, body: Any, form: int) -> None:
        if (reply := self._replies.pop(id, None)) is not None:
            if not reply.done():
                reply.set_result(Arrived(body, form))
        elif inbox := self._inboxes.pop(id, None):
            inbox.on_done(Arrived(body, form))

    def _on_failed(self, id: int, error: str) -> None:
        self._fail_ours(id, from_wire(error))

    def _fail_ours(self, id: int, error: AgentOSError) -> None:
        if (reply := self._replies.pop(id, None)) is not None:
            if not reply.done():
                reply.set_exception(error)
        elif inbox := self._inboxes.pop(id, None):
            inbox.on_done(error)

    def _on_registered(self, id: int, rejected: list[tuple[str, str]]) -> None:
        settle(self._registrations.pop(id, None), rejected)

    def _on_changed(self, state: str, message: str) -> None:
        self.state, self.message = State(state), message
        self._changed.set()
        self._changed = asyncio.Event()
        if self.state is State.CLOSED:
            self.loop.remove_reader(self._mailbox.fileno())
            for id in [*self._replies, *self._inboxes]:
                self._fail_ours(id, unavailable("the worker was closed"))
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

    # ── Orders ──────────────────────────────────────────────────────────────────────────────

    def _order(self, *order: Any) -> None:
        """Does it when all that is ready to run on the loop has run, together with the rest."""
        if not self._orders:
            self.loop.call_soon(self.flush)
        self._orders.append(order)

    def flush(self) -> None:
        """Hands over what was ordered."""
        if not self._orders:
            return
        orders, self._orders = self._orders, []
        for id, fault in self._mailbox.submit(orders):
            self._fail_ours(id, AgentOSError(Code.INVALID_INPUT, f"the call cannot be made: {fault}", origin="caller"))

    # ── Calling ─────────────────────────────────────────────────────────────────────────────

    async def call(self, call: Outgoing) -> Arrived:
        """Makes a call and waits for its outcome; cancelling the task that waits cancels the call."""
        self._check_open()
        id = next(self._calls)
        reply: asyncio.Future[Arrived] = self.loop.create_future()
        self._replies[id] = reply
        self._order(_agentos.ORDER_CALL, id, False, *call)
        try:
            return await reply
        finally:
            if self._replies.pop(id, None) is not None:
                self._order(_agentos.ORDER_CANCEL, id)

    def stream(self, call: Outgoing, inbox: Inbox) -> int:
        """Makes a streaming call; ``inbox`` hears of its chunks and of its outcome."""
        self._check_open()
        id = next(self._calls)
        self._inboxes[id] = inbox
        self._order(_agentos.ORDER_CALL, id, True, *call)
        return id

    def send(self, call: Outgoing) -> None:
        """Makes a call that nobody waits for; at once, so that its maker hears of a refusal."""
        self.flush()
        with raised():
            self._mailbox.send(call)

    def cancel(self, id: int) -> None:
        """Gives up on a streaming call of ours; nothing if it has ended."""
        if self._inboxes.pop(id, None) is not None:
            self._order(_agentos.ORDER_CANCEL, id)

    def read(self, id: int, chunks: int) -> None:
        self._order(_agentos.ORDER_READ, id, chunks)

    def _check_open(self) -> None:
        if self.state is State.CLOSED:
            raise unavailable("the worker was closed")

    # ── Answering ───────────────────────────────────────────────────────────────────────────

    def reply(self, id: int, payload: Payload) -> None:
        self._order(_agentos.ORDER_REPLY, id, *payload)

    def fail(self, id: int, error: AgentOSError) -> None:
        self._order(_agentos.ORDER_FAIL, id, error.to_wire())

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
        self.flush()
        self._mailbox.close()


_REACTIONS: dict[int, Callable[..., None]] = {
    _agentos.CALL: Session._on_call,
    _agentos.CANCEL: Session._on_cancel,
    _agentos.CREDIT: Session._on_credit,
    _agentos.CHUNK: Session._on_chunk,
    _agentos.DONE: Session._on_done,
    _agentos.FAILED: Session._on_failed,
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
