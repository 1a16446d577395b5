"""Write AgentOS workers in Python.

A worker offers functions on a bus and calls those of others::

    from agentos import Worker

    worker = Worker("hello")

    @worker.function("hello::greet")
    async def greet(name: str) -> str:
        return f"hello {name}"

    worker.run()

For programs without asyncio there is :mod:`agentos.sync`.
"""

from ._agentos import VERSION as __version__
from .calls import CallStream
from .context import Context
from .errors import AgentOSError, Code
from .events import CronRun, ItemEvent, StateChange
from .http import HttpRequest, HttpResponse
from .logs import LogHandler
from .session import State, Trace
from .stores import Entry, Items, Store, Written
from .worker import Worker

__all__ = [
    "AgentOSError",
    "CallStream",
    "Code",
    "Context",
    "CronRun",
    "Entry",
    "HttpRequest",
    "HttpResponse",
    "ItemEvent",
    "Items",
    "LogHandler",
    "State",
    "StateChange",
    "Store",
    "Trace",
    "Worker",
    "Written",
    "__version__",
]
