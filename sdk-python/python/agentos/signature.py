"""How a payload becomes the arguments of a Python function.

The rule, in the order in which it is applied:

1. A parameter annotated with ``Context`` is the context of the call.
2. If there is no other parameter, the payload is not looked at.
3. If there is one other parameter and its type is a whole object (a dataclass, ``TypedDict``,
   pydantic model, ``dict`` or ``Any``) or it has no annotation, it gets the payload as it is.
4. Otherwise the payload is an object, and its keys are the parameters. A key that is no parameter
   is refused, unless the function takes ``**kwargs``.
5. If there is one plain parameter, a payload that is not an object is its value.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from .hints import shape_of
from .records import MISSING, Field, fields_schema, read_fields
from .shapes import JSON, Anything, Definitions, Mismatch, Shape, document, read_at


class Signature:
    """The parameters of a function, and how to fill them."""

    def __init__(self, function: Callable[..., Any], context_type: type) -> None:
        self.hints = hints_of(function)
        self.context: str | None = None
        self.fields: list[Field] = []
        self.bare: set[str] = set()
        self.takes_more = False
        self._positional: set[str] = set()
        for parameter in inspect.signature(function).parameters.values():
            self._add(function, parameter, context_type)

    def _add(self, function: Callable[..., Any], parameter: inspect.Parameter, context_type: type) -> None:
        hint = self.hints.get(parameter.name, MISSING)
        if is_context(hint):
            _check_context(function, hint, context_type)
            self.context = parameter.name
        elif parameter.kind is parameter.VAR_KEYWORD:
            self.takes_more = True
        elif parameter.kind is parameter.VAR_POSITIONAL:
            raise TypeError(f"{describe(function)}: *{parameter.name} has no place in a payload")
        else:
            self.fields.append(_field(function, parameter, hint))
            if hint is MISSING:
                self.bare.add(parameter.name)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            self._positional.add(parameter.name)

    @property
    def whole(self) -> bool:
        """True when the one parameter gets the payload as it is."""
        return len(self.fields) == 1 and not self.takes_more and self.fields[0].shape.whole

    def input_schema(self) -> JSON:
        """The JSON Schema of the payload."""
        if self.whole:
            return document(self.fields[0].shape)
        definitions = Definitions()
        schema = fields_schema(self.fields, definitions)
        if not self.takes_more:
            schema["additionalProperties"] = False
        return {**schema, "$defs": definitions.schemas} if definitions.schemas else schema

    def bind(self, value: Any, context: Any) -> tuple[list[Any], dict[str, Any]]:
        """The arguments for ``value``.

        :raises Mismatch: naming the field that does not fit.
        """
        return self.arrange(self._read(value), context)

    def arrange(self, read: dict[str, Any], context: Any) -> tuple[list[Any], dict[str, Any]]:
        if self.context is not None:
            read[self.context] = context
        positional = [read.pop(name) for name in list(read) if name in self._positional]
        return positional, read

    def _read(self, value: Any) -> dict[str, Any]:
        if not self.fields and not self.takes_more:
            return {}
        if self.whole:
            return self._read_whole(value)
        if len(self.fields) == 1 and not isinstance(value, dict):
            return self._read_value(value)
        keys = {} if value is None else value
        read = read_fields(self.fields, keys)
        rest = {key: item for key, item in keys.items() if key not in read}
        if rest and not self.takes_more:
            raise Mismatch(f"unknown; known are {', '.join(field.name for field in self.fields)}", next(iter(rest)))
        return {**read, **rest}

    def _read_whole(self, value: Any) -> dict[str, Any]:
        field = self.fields[0]
        if value is None and not field.required:
            return {}
        return {field.name: field.shape.read(value)}

    def _read_value(self, value: Any) -> dict[str, Any]:
        field = self.fields[0]
        if value is None and not field.required:
            return {}
        return {field.name: read_at(field.shape, value, field.name)}


def describe(function: Callable[..., Any]) -> str:
    """What to call a function in messages."""
    return getattr(function, "__qualname__", repr(function))


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotations of a function, a method, or an object with ``__call__``."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    plain = inspect.isfunction(function) or inspect.ismethod(function)
    return typing.get_type_hints(function if plain else type(function).__call__, include_extras=True)


def is_context(hint: Any) -> bool:
    return isinstance(hint, type) and getattr(hint, "is_call_context", False) is True


def _check_context(function: Callable[..., Any], hint: Any, context_type: type) -> None:
    if not issubclass(context_type, hint):
        wanted = "agentos.sync.Context" if hint.__name__ == "Context" else "agentos.Context"
        raise TypeError(f"{describe(function)}: annotate the context of this function as {wanted}")


def _field(function: Callable[..., Any], parameter: inspect.Parameter, hint: Any) -> Field:
    default = MISSING if parameter.default is parameter.empty else parameter.default
    try:
        shape: Shape = Anything() if hint is MISSING else shape_of(hint)
    except TypeError as error:
        raise TypeError(f"{describe(function)}: parameter {parameter.name}: {error}") from error
    return Field(parameter.name, shape, default, required=default is MISSING)
