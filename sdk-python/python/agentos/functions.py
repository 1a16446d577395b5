"""A function as a worker offers it: what to run, how to fill its parameters, what to tell others.

Says nothing about how it is run; that is ``serving``.
"""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from . import codec
from .context import Context, SyncContext
from .errors import AgentOSError, Code
from .hints import shape_of
from .shapes import JSON, Mismatch, document
from .signature import Signature


class Kind(Enum):
    """How a Python function runs."""

    COROUTINE = auto()
    ASYNC_GENERATOR = auto()
    #: In a thread, like GENERATOR.
    PLAIN = auto()
    GENERATOR = auto()

    @property
    def threaded(self) -> bool:
        return self in (Kind.PLAIN, Kind.GENERATOR)

    @property
    def streams(self) -> bool:
        return self in (Kind.ASYNC_GENERATOR, Kind.GENERATOR)

    @property
    def context_type(self) -> type:
        return SyncContext if self.threaded else Context


def kind_of(function: Callable[..., Any]) -> Kind:
    """Whether ``function`` is asynchronous, and whether it yields."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    code = function if inspect.isroutine(function) else type(function).__call__
    if inspect.iscoroutinefunction(code):
        return Kind.COROUTINE
    if inspect.isasyncgenfunction(code):
        return Kind.ASYNC_GENERATOR
    return Kind.GENERATOR if inspect.isgeneratorfunction(code) else Kind.PLAIN


@dataclass
class Function:
    """One offered function."""

    id: str
    run: Callable[..., Any]
    kind: Kind
    signature: Signature
    #: What the engine is told, in the shape of the protocol's `FunctionSpec`.
    spec: JSON
    #: What becomes of the result before it is encoded.
    finish: Callable[[Any], Any]

    def arguments(self, body: Any, form: int, context: Any) -> tuple[list[Any], dict[str, Any]]:
        """Reads a payload as it arrived.

        :raises AgentOSError: ``invalid_input``, naming the field that does not fit.
        """
        try:
            return self.signature.bind(codec.decode(body, form), context)
        except Mismatch as problem:
            where = f"{problem.path}: " if problem.path else ""
            field = problem.path or "."
            raise _invalid(f"input of `{self.id}`: {where}{problem.message}", field) from problem
        except ValueError as error:
            raise _invalid(f"input of `{self.id}`: not JSON: {error}", ".") from error


def _invalid(message: str, field: str) -> AgentOSError:
    return AgentOSError(Code.INVALID_INPUT, message, origin="caller", details={"field": field})


def define(
    id: str,
    function: Callable[..., Any],
    *,
    description: str | None = None,
    metadata: Any = None,
    idempotent: bool = False,
    streams: bool = False,
    input_schema: JSON | None = None,
    output_schema: JSON | None = None,
    signature: type[Signature] = Signature,
    finish: Callable[[Any], Any] = lambda result: result,
) -> Function:
    """Describes ``function`` as ``id``; what is not said is read from its hints and docstring.

    :raises TypeError: when a parameter has a type without a JSON form.
    """
    kind = kind_of(function)
    parameters = signature(function, kind.context_type)
    spec = {
        "id": id,
        "description": description or summary(function),
        "input_schema": input_schema if input_schema is not None else parameters.input_schema(),
        "output_schema": output_schema if output_schema is not None else result_schema(parameters, kind),
        "metadata": metadata,
        "streams": streams or kind.streams,
        "idempotent": idempotent,
    }
    spec = {key: value for key, value in spec.items() if value is not None}
    return Function(id, function, kind, parameters, spec, finish)


def summary(function: Callable[..., Any]) -> str | None:
    """The first paragraph of a docstring, as one line."""
    text = inspect.getdoc(function) if inspect.isroutine(function) else None
    return " ".join(text.split("\n\n")[0].split()) if text else None


def result_schema(signature: Signature, kind: Kind) -> JSON | None:
    """The schema of the result; none when its type is not known to have one.

    A generator's result is what a caller gets that does not take a stream: the array of chunks.
    """
    hint = signature.hints.get("return", Any)
    try:
        if not kind.streams:
            return document(shape_of(hint)) or None
        if typing.get_origin(hint) in _ITERATORS:
            return document(shape_of(list[typing.get_args(hint)[0]]))  # type: ignore[misc]
    except TypeError:
        pass
    return None


_ITERATORS = (
    collections.abc.AsyncIterator, collections.abc.AsyncGenerator, collections.abc.AsyncIterable,
    collections.abc.Iterator, collections.abc.Generator, collections.abc.Iterable,
)
