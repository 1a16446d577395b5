"""Shapes with named fields: dataclasses, typed dictionaries, named tuples, pydantic models."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

from . import codec
from .hints import shape_of
from .shapes import JSON, Definitions, Mismatch, Shape, name_of, read_at

MISSING = dataclasses.MISSING


@dataclasses.dataclass
class Field:
    """One named part of a record, or one parameter of a function."""

    name: str
    shape: Shape
    #: MISSING when there is none, or when only the type itself knows it.
    default: Any
    required: bool = True
    description: str | None = None

    def schema(self, definitions: Definitions) -> JSON:
        schema = self.shape.schema(definitions)
        if self.description is not None:
            schema = {**schema, "description": self.description}
        if self.default is not MISSING and self.default is not None:
            try:
                schema = {**schema, "default": codec.decode(codec.dumps(self.default))}
            except (TypeError, ValueError):
                pass  # A default without a JSON form is nobody's business but Python's.
        return schema


def fields_schema(fields: list[Field], definitions: Definitions) -> JSON:
    """The schema of an object with these fields."""
    schema: JSON = {"type": "object", "properties": {field.name: field.schema(definitions) for field in fields}}
    required = [field.name for field in fields if field.required]
    return {**schema, "required": required} if required else schema


def read_fields(fields: list[Field], value: Any) -> dict[str, Any]:
    """The fields that ``value`` has.

    :raises Mismatch: for one that is required and missing, or does not fit.
    """
    if not isinstance(value, dict):
        raise Mismatch(f"expected an object, got {name_of(value)}")
    read: dict[str, Any] = {}
    for field in fields:
        if field.name in value:
            read[field.name] = read_at(field.shape, value[field.name], field.name)
        elif field.required:
            raise Mismatch("required, but missing", field.name)
    return read


class Record(Shape):
    """A class with named fields; keys that it does not know are ignored, as in the Rust SDK."""

    whole = True

    def __init__(self, kind: type, make: Callable[..., Any]) -> None:
        self._kind, self._make = kind, make
        self.fields: list[Field] = []

    def schema(self, definitions: Definitions) -> JSON:
        return definitions.write(self._kind, lambda: self._write(definitions))

    def _write(self, definitions: Definitions) -> JSON:
        schema = fields_schema(self.fields, definitions)
        text = self._kind.__doc__
        # A dataclass without a docstring gets its signature for one; that says nothing new.
        if text and not text.startswith(f"{self._kind.__name__}("):
            schema["description"] = text.strip()
        return schema

    def read(self, value: Any) -> Any:
        fields = read_fields(self.fields, value)
        try:
            return self._make(**fields)
        except (TypeError, ValueError) as error:
            raise Mismatch(str(error)) from error


class Model(Shape):
    """A pydantic model, which knows its own schema and reads by itself."""

    whole = True

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def schema(self, definitions: Definitions) -> JSON:
        schema = dict(self._kind.model_json_schema())
        definitions.schemas.update(schema.pop("$defs", {}))
        return schema

    def read(self, value: Any) -> Any:
        try:
            return self._kind.model_validate(value)
        except ValueError as error:
            raise _first_problem(error) from error


def _first_problem(error: ValueError) -> Mismatch:
    errors = getattr(error, "errors", None)
    if errors is None:
        return Mismatch(str(error))
    first = errors(include_url=False)[0]
    problem = Mismatch(_lowered(first["msg"]))
    for step in reversed(first["loc"]):
        problem = problem.under(f"[{step}]" if isinstance(step, int) else str(step))
    return problem


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]


_known: dict[Any, Shape] = {}


def record_of(hint: Any) -> Shape:
    """The shape of a class with named fields.

    :raises TypeError: when ``hint`` is no such class.
    """
    if hint not in _known:
        _known[hint] = _new(hint)
    return _known[hint]


def _new(hint: Any) -> Shape:
    if hasattr(hint, "model_validate") and hasattr(hint, "model_json_schema"):
        return Model(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _filled(hint, hint, _dataclass_fields)
    if typing.is_typeddict(hint):
        return _filled(hint, dict, _typed_dict_fields)
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return _filled(hint, hint, _named_tuple_fields)
    raise TypeError(f"{getattr(hint, '__name__', hint)!s} has no JSON form; use a dataclass, TypedDict or pydantic model")


def _filled(kind: Any, make: Callable[..., Any], fields: Callable[[Any, dict[str, Any]], list[Field]]) -> Shape:
    """A record, known before its fields are, so that it may contain itself."""
    record = Record(kind, make)
    _known[kind] = record
    try:
        record.fields = fields(kind, typing.get_type_hints(kind, include_extras=True))
    except BaseException:
        del _known[kind]
        raise
    return record


def _dataclass_fields(kind: Any, hints: dict[str, Any]) -> list[Field]:
    return [
        Field(
            field.name,
            shape_of(hints[field.name]),
            field.default,
            required=field.default is MISSING and field.default_factory is MISSING,
            description=field.metadata.get("description"),
        )
        for field in dataclasses.fields(kind)
        if field.init
    ]


def _typed_dict_fields(kind: Any, hints: dict[str, Any]) -> list[Field]:
    # With postponed annotations the class itself does not see its `NotRequired`.
    optional = {name for name, hint in hints.items() if typing.get_origin(hint) is typing.NotRequired}
    required = kind.__required_keys__ - optional
    return [Field(name, shape_of(hint), MISSING, required=name in required) for name, hint in hints.items()]


def _named_tuple_fields(kind: Any, hints: dict[str, Any]) -> list[Field]:
    defaults = kind._field_defaults
    return [
        Field(name, shape_of(hints.get(name, Any)), defaults.get(name, MISSING), required=name not in defaults)
        for name in kind._fields
    ]
