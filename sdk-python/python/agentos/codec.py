"""Python values to payload bytes and back.

``bytes`` travel as they are; everything else as JSON, by ``orjson`` where it is installed and by
the standard library otherwise.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import importlib
import importlib.util
import json
import pathlib
import uuid
from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple

# The faster library, where it is; untyped, so that type checkers see the same with and without it.
orjson: Any = None
if importlib.util.find_spec("orjson") is not None:
    orjson = importlib.import_module("orjson")


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
    if isinstance(value, bytes | bytearray | memoryview):
        return Payload(bytes(value), True)
    return Payload(dumps(value))


def decode(data: bytes, binary: bool = False) -> Any:
    """What :func:`encode` made of it; nothing at all reads as ``None``.

    :raises ValueError: when the bytes are not JSON text.
    """
    if binary:
        return data
    if not data:
        return None
    return orjson.loads(data) if orjson is not None else json.loads(data)


def dumps(value: Any) -> bytes:
    if orjson is not None:
        try:
            text: bytes = orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
            return text
        except TypeError:
            pass  # An integer above 64 bits: the standard library can. A real fault fails there too.
    return json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


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
