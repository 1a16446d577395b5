"""A worker as a program: the signals that end it, and what it says about its connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator

from .session import State

log = logging.getLogger("agentos")


class Stop:
    """Ends a serving worker: politely at the first signal, at once at the second."""

    def __init__(self, politely: Callable[[], None], at_once: Callable[[], None]) -> None:
        self._politely, self._at_once = politely, at_once
        self.asked = False

    def __call__(self) -> None:
        if self.asked:
            self._at_once()
        self.asked = True
        self._politely()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """While this lasts, SIGTERM and SIGINT mean stop; in the main thread, where signals arrive."""
        loop = asyncio.get_running_loop()
        signals = [signal.SIGTERM, signal.SIGINT] if threading.current_thread() is threading.main_thread() else []
        for number in signals:
            loop.add_signal_handler(number, self)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


class Reporter:
    """Logs how the connection fares, each piece of news once."""

    def __init__(self, name: str) -> None:
        self._name, self._last = name, ""

    def __call__(self, state: State, message: str) -> None:
        line = f"{self._name}: {state}: {message}"
        if state not in (State.CONNECTING, State.CLOSED) and line != self._last:
            log.log(logging.INFO if state is State.CONNECTED else logging.WARNING, "%s", line)
        self._last = line
