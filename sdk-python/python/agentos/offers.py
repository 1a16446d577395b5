"""What a worker offers: the decorators, and the book in which they write.

The book remembers what the engine has not been told yet.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from . import http
from .functions import Function, define
from .shapes import JSON
from .signature import describe
from .triggers import Triggers

F = TypeVar("F", bound=Callable[..., Any])


class Book:
    """Functions and triggers of one worker."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.functions: dict[str, Function] = {}
        #: In the shape of the protocol's `TriggerSpec`, by id.
        self.triggers: dict[str, JSON] = {}
        self._ids: dict[Callable[..., Any], str] = {}
        self._untold: list[str] = []

    def add(self, function: Function, original: Callable[..., Any]) -> None:
        if function.id in self.functions:
            raise ValueError(f"{function.id} is offered already; give {describe(original)} an id of its own")
        self.functions[function.id] = function
        self._untold.append(function.id)

    def name(self, original: Callable[..., Any], id: str) -> None:
        """Remembers under which id a Python function is offered."""
        self._ids[original] = id

    def has(self, original: Callable[..., Any]) -> bool:
        return original in self._ids

    def id_of(self, original: Callable[..., Any]) -> str:
        if original not in self._ids:
            raise TypeError(f"{describe(original)} is not offered; put the trigger above @worker.function")
        return self._ids[original]

    def bind(self, trigger_type: str, function: str, config: Any, metadata: Any) -> str:
        # Random: the id must be stable across reconnects, not across runs.
        id = str(uuid.uuid4())
        spec = {"id": id, "type": trigger_type, "function": function, "config": config, "metadata": metadata}
        self.triggers[id] = {key: value for key, value in spec.items() if value is not None}
        self._untold.append(id)
        return id

    def news(self) -> str | None:
        """What was added since the last time, as the native module takes it."""
        untold, self._untold = self._untold, []
        functions = [self.functions[id].spec for id in untold if id in self.functions]
        triggers = [self.triggers[id] for id in untold if id in self.triggers]
        return json.dumps({"functions": functions, "triggers": triggers}) if functions or triggers else None

    def told_nothing(self) -> None:
        """Begins anew, for a new session."""
        self._untold = [*self.functions, *self.triggers]

    def remove(self, function: str) -> list[str]:
        """Forgets a function; says which triggers went with it."""
        self.functions.pop(function, None)
        self._ids = {original: id for original, id in self._ids.items() if id != function}
        gone = [id for id, spec in self.triggers.items() if spec["function"] == function]
        for id in gone:
            del self.triggers[id]
        return gone


class Offers(Triggers):
    """The decorators of a worker."""

    _book: Book

    def function(
        self,
        id: str | None = None,
        *,
        description: str | None = None,
        metadata: Any = None,
        idempotent: bool = False,
        streams: bool = False,
        input_schema: JSON | None = None,
        output_schema: JSON | None = None,
    ) -> Callable[[F], F]:
        """Offers a Python function as ``id``, by default ``<worker>::<name of the function>``.

        Schemas and validation come from the type hints, the description from the docstring; see
        ``signature`` for how a payload becomes arguments. A coroutine runs on the event loop, a
        plain function in a thread, and what a generator yields is streamed.

        :param idempotent: running it twice does no harm, so a lost call may be sent again.
        :param streams: the function sends chunks by ``ctx.send``; generators need not say so.
        """

        def offer(original: F) -> F:
            own = id or self._default_id(original)
            self._book.add(
                define(
                    own, original, description=description, metadata=metadata, idempotent=idempotent,
                    streams=streams, input_schema=input_schema, output_schema=output_schema,
                ),
                original,
            )
            self._book.name(original, own)
            return original

        return offer

    def http(
        self, method: str, path: str, *, id: str | None = None, description: str | None = None, **config: Any
    ) -> Callable[[F], F]:
        """Answers ``method path`` with a Python function, ``:name`` and ``*rest`` being parameters.

        Parameters come from the path, the query and the body, see ``http``. The function is
        offered as ``id``, by default ``<worker>::<name>_http``; it may be offered to workers under
        another id as well, by ``@worker.function``.

        :param config: more for the trigger: ``auth="none"``, ``raw_body=True``.
        """

        def offer(original: F) -> F:
            own = id or f"{self._default_id(original)}_http"
            if own not in self._book.functions:
                function = define(
                    own, original, description=description, signature=http.HttpSignature, finish=http.respond
                )
                self._book.add(function, original)
            self._book.bind("http", own, {"http_method": method, "api_path": path, **config}, None)
            return original

        return offer

    def on(self, trigger_type: str, config: Any = None, *, metadata: Any = None) -> Callable[[F], F]:
        """Calls the function below when something happens; goes above ``@worker.function``."""

        def bind(original: F) -> F:
            self._book.bind(trigger_type, self._book.id_of(original), config, metadata)
            return original

        return bind

    def bind(self, trigger_type: str, function: str, config: Any = None, *, metadata: Any = None) -> str:
        """Binds ``function``, of this worker or of another, to an event source; gives the trigger's id."""
        return self._book.bind(trigger_type, function, config, metadata)

    def _bound(self, trigger_type: str, config: JSON, id: str | None) -> Callable[[F], F]:
        def offer(original: F) -> F:
            if not self._book.has(original) or id is not None:
                self.function(id)(original)
            said = {key: value for key, value in config.items() if value is not None}
            self._book.bind(trigger_type, self._book.id_of(original), said, None)
            return original

        return offer

    def _default_id(self, original: Callable[..., Any]) -> str:
        return f"{self._book.worker}::{getattr(original, '__name__', type(original).__name__)}"
