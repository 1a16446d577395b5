"""Finds the shape of a type hint.

Understands what people write in signatures; a type without a JSON form is refused when the
function is defined, not when it is called.
"""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from .scalars import SCALARS
from .shapes import Anything, Choice, Described, Either, Items, Row, Shape, Table


def shape_of(hint: Any) -> Shape:
    """The shape of a type hint.

    :raises TypeError: when the type has no JSON form that this package knows.
    """
    if hint is Any or hint is object:
        return Anything()
    if hint is None:
        hint = type(None)
    if isinstance(hint, type) and hint in SCALARS:
        return SCALARS[hint]
    if isinstance(hint, typing.NewType):
        return shape_of(hint.__supertype__)
    if hasattr(hint, "__value__"):  # `type Alias = ...`
        return shape_of(hint.__value__)
    origin = typing.get_origin(hint)
    return _generic(origin, typing.get_args(hint), hint) if origin is not None else _bare(hint)


def _generic(origin: Any, arguments: tuple[Any, ...], hint: Any) -> Shape:
    if origin is typing.Annotated:
        return _annotated(arguments)
    if origin is Literal:
        return Choice({value: value for value in arguments})
    if origin in (typing.Union, types.UnionType):
        null = SCALARS[type(None)] if type(None) in arguments else None
        return Either([shape_of(argument) for argument in arguments if argument is not type(None)], null)
    if origin in (typing.Required, typing.NotRequired):
        return shape_of(arguments[0])
    if origin is tuple and arguments[-1] is not Ellipsis:
        return Row([shape_of(argument) for argument in arguments])
    if origin in _SEQUENCES:
        return _items(origin, shape_of(arguments[0]))
    if origin in _MAPPINGS and arguments[0] is str:
        return Table(shape_of(arguments[1]))
    return _record(hint)


def _bare(hint: Any) -> Shape:
    if hint in _SEQUENCES:
        return _items(hint, Anything())
    if hint in _MAPPINGS:
        return Table(Anything())
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return Choice({member.value: member for member in hint})
    return _record(hint)


def _record(hint: Any) -> Shape:
    from . import records

    return records.record_of(hint)


def _annotated(arguments: tuple[Any, ...]) -> Shape:
    inner = shape_of(arguments[0])
    for note in arguments[1:]:
        text = note if isinstance(note, str) else getattr(note, "description", None)
        if isinstance(text, str):
            inner = Described(inner, text)
    return inner


_SEQUENCES: dict[Any, Callable[[list[Any]], Any]] = {
    list: list, tuple: tuple, set: set, frozenset: frozenset,
    collections.abc.Sequence: list, collections.abc.Iterable: list, collections.abc.Collection: list,
    collections.abc.MutableSequence: list, collections.abc.Set: set,
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _items(origin: Any, item: Shape) -> Shape:
    make = _SEQUENCES[origin]
    return Items(item, make, unique=make in (set, frozenset))
