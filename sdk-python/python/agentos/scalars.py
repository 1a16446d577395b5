"""Shapes of single values: JSON's own, and Python types with a text form.

Strict where Python is lenient: a string is no number, and ``True`` is not 1.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

from .shapes import JSON, Definitions, Mismatch, Shape, name_of


class Scalar(Shape):
    """A JSON scalar, or a Python type with a text form."""

    def __init__(self, schema: JSON, expected: str, read: Callable[[Any], Any]) -> None:
        self._schema, self._expected, self._read = schema, expected, read

    def schema(self, definitions: Definitions) -> JSON:
        return dict(self._schema)

    def read(self, value: Any) -> Any:
        try:
            return self._read(value)
        except (TypeError, ValueError, ArithmeticError):
            raise Mismatch(f"expected {self._expected}, got {name_of(value)}") from None


def _only(kind: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError
        return value

    return read


def _integer(value: Any) -> int:
    # JSON has one kind of number: 3.0 is an integer too.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _from_text(make: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: make(_only(str)(value))


def _bytes(value: Any) -> bytes:
    try:
        return value if isinstance(value, bytes) else base64.b64decode(_only(str)(value), validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _decimal(value: Any) -> decimal.Decimal:
    if isinstance(value, bool):
        raise TypeError
    return decimal.Decimal(str(value))


SCALARS: dict[Any, Scalar] = {
    type(None): Scalar({"type": "null"}, "null", _only(type(None))),
    bool: Scalar({"type": "boolean"}, "a boolean", _only(bool)),
    int: Scalar({"type": "integer"}, "an integer", _integer),
    float: Scalar({"type": "number"}, "a number", _number),
    str: Scalar({"type": "string"}, "a string", _only(str)),
    bytes: Scalar({"type": "string", "contentEncoding": "base64"}, "bytes or base64 text", _bytes),
    datetime.datetime: Scalar(
        {"type": "string", "format": "date-time"}, "a date and time", _from_text(datetime.datetime.fromisoformat)
    ),
    datetime.date: Scalar({"type": "string", "format": "date"}, "a date", _from_text(datetime.date.fromisoformat)),
    datetime.time: Scalar({"type": "string", "format": "time"}, "a time", _from_text(datetime.time.fromisoformat)),
    uuid.UUID: Scalar({"type": "string", "format": "uuid"}, "a UUID", _from_text(uuid.UUID)),
    pathlib.Path: Scalar({"type": "string"}, "a path", _from_text(pathlib.Path)),
    decimal.Decimal: Scalar({"type": ["number", "string"]}, "a decimal number", _decimal),
}
