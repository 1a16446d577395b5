"""Python's ``logging`` on the bus: records are kept by the engine, within the trace they were made in."""

from __future__ import annotations

import contextvars
import logging
import threading
from typing import TYPE_CHECKING, Any

from . import codec
from .errors import AgentOSError

if TYPE_CHECKING:
    from .context import Context
    from .worker import Worker

#: The call whose handler is running.
current: contextvars.ContextVar[Context | None] = contextvars.ContextVar("agentos_call", default=None)

#: Records that may wait to be sent; more are dropped, and the next one says how many.
_WAITING_MAX = 1_000

#: What every record has; the rest came as ``extra``.
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class LogHandler(logging.Handler):
    """Sends records to the engine's log, where ``agentos`` and ``engine::logs::list`` show them.

    ::

        logging.getLogger().addHandler(LogHandler(worker))

    A record that is made while a handler answers a call carries the call's trace, function and
    caller. ``extra`` and the exception come along. Before the worker is connected, and when too many
    records wait, records are dropped: logging never waits, and never fails.
    """

    def __init__(self, worker: Worker, level: int = logging.INFO) -> None:
        super().__init__(level)
        self._worker = worker
        self._counting = threading.Lock()
        self._waiting = self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        session = self._worker.session
        if session is None or session.loop.is_closed():
            return
        with self._counting:
            if self._waiting >= _WAITING_MAX:
                self._dropped += 1
                return
            self._waiting += 1
            dropped, self._dropped = self._dropped, 0
        try:
            call = current.get()
            body = self._body(record, call, dropped)
            trace = (None, None) if call is None else (call.trace.parent, call.trace.baggage)
            outgoing = (f"engine::log::{_level(record.levelno)}", codec.dumps(body), False, None, *trace, None)
            session.loop.call_soon_threadsafe(self._send, session, outgoing)
        except Exception:
            self._sent()
            self.handleError(record)

    def _send(self, session: Any, outgoing: Any) -> None:
        try:
            session.send(outgoing)
        except AgentOSError:
            with self._counting:
                self._dropped += 1
        finally:
            self._sent()

    def _sent(self) -> None:
        with self._counting:
            self._waiting -= 1

    def _body(self, record: logging.LogRecord, call: Context | None, dropped: int) -> dict[str, Any]:
        data: dict[str, Any] = {"logger": record.name}
        if call is not None:
            data |= {"function": call.function, "caller": call.caller}
        data |= {key: _plain(value) for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            data["exception"] = logging.Formatter().formatException(record.exc_info)
        if dropped:
            data["dropped_before"] = dropped
        return {"message": record.getMessage(), "data": data, "service_name": self._worker.name}


def _plain(value: Any) -> Any:
    """``value`` if it has a JSON form, else its text."""
    try:
        codec.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return value


def _level(number: int) -> str:
    for least, name in ((logging.ERROR, "error"), (logging.WARNING, "warn"), (logging.INFO, "info"), (logging.DEBUG, "debug")):
        if number >= least:
            return name
    return "trace"
