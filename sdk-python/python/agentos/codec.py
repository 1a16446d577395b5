"""Python values to payload bytes and back.

``bytes`` travel as they are; everything else as JSON. The native module writes and reads what JSON
and Python agree on, the standard library the rest: objects, numbers above 64 bits.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple

from . import _agentos

_BYTES = (bytes, bytearray, memoryview)


class Payload(NamedTuple):
    """A body on its way: bytes, and whether they are JSON text or opaque."""

    data: bytes
    binary: bool = False


def encode(value: Any) -> Payload:
    """``value`` as a payload.

    Dataclasses, pydantic models, enums, dates, UUIDs, sets and arrays with ``tolist`` have a JSON
    form; ``bytes`` inside a JSON value become base64 text.

    :raises TypeError: when something in ``value`` has no JSON form.
    :raises ValueError: for a number that JSON cannot say, such as NaN.
    """
    if isinstance(value, _BYTES):
        return Payload(bytes(value), True)
    return Payload(dumps(value))


class Arrived(NamedTuple):
    """A payload as the native module hands it over: a value, or bytes."""

    body: Any
    #: One of the forms below.
    form: int


#: The body is JSON text that only Python can read, or that nobody can.
FORM_JSON = _agentos.FORM_JSON
#: The body is bytes.
FORM_BINARY = _agentos.FORM_BINARY
#: The body has been read already.
FORM_VALUE = _agentos.FORM_VALUE


def decode(body: Any, form: int = FORM_JSON) -> Any:
    """The value of a payload as it arrived; nothing at all reads as ``None``.

    :raises ValueError: when the bytes are not JSON text.
    """
    if form != FORM_JSON:
        return body
    return json.loads(body) if body else None


def dumps(value: Any) -> bytes:
    text = _agentos.dumps(value)
    return _encoder.encode(value).encode() if text is None else text


def _plain(value: Any) -> Any:
    """The JSON form of what the encoder does not know by itself."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_CONVERSIONS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (enum.Enum, lambda value: value.value),
    ((datetime.datetime, datetime.date, datetime.time), lambda value: value.isoformat()),
    ((uuid.UUID, pathlib.PurePath, decimal.Decimal), str),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    (Set, list),
    (Mapping, dict),
)

# Made once: `json.dumps` makes one per call.
_encoder = json.JSONEncoder(default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
