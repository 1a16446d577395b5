"""The worker: connects, registers what it offers, and serves until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from ._agentos import VERSION
from .calls import Calls
from .errors import AgentOSError, Code
from .offers import Book, Offers
from .program import Reporter, Stop
from .serving import Server
from .session import Session, State, Trace, unavailable

log = logging.getLogger("agentos")

#: The engine answers a registration at once; this is for one that is stuck.
_REGISTER_SECONDS = 10.0
#: The session itself lets running calls go on for 10 s when it closes; a little more for its end.
_CLOSE_SECONDS = 15.0


class Worker(Offers, Calls):
    """A program that offers functions on the bus, and calls those of others.

    :param name: the worker's name; instances of one worker share it.
    :param url: ``ws://host:port``; otherwise ``AGENTOS_URL``, or the default port on this machine.
    :param token: otherwise ``AGENTOS_TOKEN``, ``AGENTOS_TOKEN_FILE``, or the token of an engine
        that runs on this account.
    :param build: hash of what runs, to tell two builds of one name apart.
    :param threads: how many synchronous handlers may run at a time.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        token: str | None = None,
        build: str | None = None,
        description: str | None = None,
        threads: int = 32,
    ) -> None:
        self._options = {
            "name": name, "url": url, "token": token, "build": build, "description": description,
            "sdk_version": VERSION,
        }
        self._book = Book(name)
        self._threads = threads
        self._session: Session | None = None
        self._server: Server | None = None
        self._watchers: list[Callable[[State, str], object]] = []

    @property
    def name(self) -> str:
        return self._book.worker

    @property
    def session(self) -> Session | None:
        """The session, for parts of this package that go on when there is none."""
        return self._session

    @property
    def _calling(self) -> tuple[Session, Trace]:
        if self._session is None:
            raise unavailable("the worker is not connected: use `async with worker:` or `worker.run()`")
        return self._session, Trace()

    @property
    def state(self) -> State:
        """Where the connection stands; it is made again by itself when it breaks."""
        return State.CLOSED if self._session is None else self._session.state

    def on_state(self, watcher: Callable[[State, str], object]) -> Callable[[State, str], object]:
        """Tells ``watcher(state, message)`` of every change of the connection, on the event loop."""
        self._watchers.append(watcher)
        return watcher

    @contextlib.contextmanager
    def elsewhere(self, *, url: str, token: str) -> Iterator[Self]:
        """While this lasts, the worker connects there, whatever was said when it was made."""
        before = self._options
        self._options = {**before, "url": url, "token": token}
        try:
            yield self
        finally:
            self._options = before

    # ── A session ───────────────────────────────────────────────────────────────────────────

    async def connect(self, timeout: float | None = 10.0) -> None:
        """Opens a session and registers what is offered.

        :param timeout: seconds to look for an engine; ``None`` looks for ever, even for one that
            refuses the token, since that may be set right.
        :raises AgentOSError: ``unavailable`` when there is no engine, ``unauthenticated`` when it
            refuses the token, or why it refused a registration.
        """
        if self.state is not State.CLOSED:
            raise RuntimeError("the worker is connected already")
        session = self._session = Session(self._options, self._changed)
        self._server = session.handler = Server(session, self._book.functions, self._threads)
        self._book.told_nothing()
        try:
            await _welcomed(session, timeout)
            await self.register()
        except BaseException:
            await self.close()
            raise

    async def register(self) -> None:
        """Tells the engine what was added since the worker connected.

        :raises AgentOSError: the first refusal, for instance ``forbidden`` for a reserved id.
        """
        session, _ = self._calling
        if (news := self._book.news()) is None:
            return
        try:
            async with asyncio.timeout(_REGISTER_SECONDS):
                rejected = await session.register(news)
        except TimeoutError:
            raise AgentOSError(Code.TIMEOUT, "the engine did not confirm the registration in 10 s") from None
        for id, error in rejected:
            log.error("%s was refused: %s", id, error)
        if rejected:
            raise rejected[0][1]

    async def unregister(self, *functions: str) -> None:
        """Takes functions back, and the triggers that this worker bound to them."""
        session, _ = self._calling
        triggers = [trigger for function in functions for trigger in self._book.remove(function)]
        session.unregister(list(functions), triggers)

    async def close(self) -> None:
        """Takes no new calls, lets running ones finish (10 s at most), then ends the session."""
        session, server = self._session, self._server
        if session is None or server is None:
            return
        self._ask_to_close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await session.wait_for(State.CLOSED)
        except TimeoutError:
            log.warning("the session did not end in %g s", _CLOSE_SECONDS)
        finally:
            server.stop()

    def _ask_to_close(self) -> None:
        if self._session is not None and self.state is not State.CLOSED:
            self._session.close()

    def _cancel_running(self) -> None:
        if self._server is not None:
            self._server.stop()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _changed(self, state: State, message: str) -> None:
        for watcher in self._watchers:
            try:
                watcher(state, message)
            except Exception:
                log.exception("a watcher of the connection failed")

    # ── A program ───────────────────────────────────────────────────────────────────────────

    async def serve(self) -> None:
        """Connects, waiting for an engine if need be, and serves until SIGTERM, SIGINT or ``close``.

        Then running calls finish, 10 s at most. A second signal cancels them.
        """
        watcher = self.on_state(Reporter(self.name))
        stop = Stop(self._ask_to_close, self._cancel_running)
        try:
            with stop.on_signals():
                await self.connect(timeout=None)
                session, _ = self._calling
                await session.wait_for(State.CLOSED)
        except AgentOSError:
            if not stop.asked:
                raise
        finally:
            self._watchers.remove(watcher)
            await self.close()

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; blocks. The ``main`` of a worker program."""
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        asyncio.run(self.serve())
        if self._server is not None and self._server.threads_busy:
            log.warning("%d handlers are still busy in threads and are left behind", self._server.threads_busy)
            sys.stdout.flush()
            sys.stderr.flush()
            # The interpreter would wait for those threads for ever.
            os._exit(0)


async def _welcomed(session: Session, timeout: float | None) -> None:
    patience = () if timeout is None else (State.REFUSED,)
    try:
        async with asyncio.timeout(timeout):
            state = await session.wait_for(State.CONNECTED, State.CLOSED, *patience)
    except TimeoutError:
        raise unavailable(f"no engine: {session.message}; start one with `agentos start`") from None
    if state is State.REFUSED:
        raise AgentOSError(Code.UNAUTHENTICATED, session.message, origin="caller")
    if state is State.CLOSED:
        raise unavailable("the worker was closed")
