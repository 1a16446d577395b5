"""Shapes: the JSON Schema of a type, and the reading of a JSON value as that type.

Knows containers; scalars live in ``scalars``, classes with named fields in ``records``, and
``hints`` finds the shape of a type hint.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

JSON = dict[str, Any]


class Mismatch(ValueError):
    """A value that does not fit its shape; ``path`` grows while the error leaves the value."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def under(self, step: str) -> Mismatch:
        """The same error seen from one level up: ``step`` is ``name`` or ``[3]``."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return Mismatch(self.message, f"{step}{joint}{self.path}")


class Definitions:
    """Schemas of types that contain themselves, collected while a schema is written."""

    def __init__(self) -> None:
        self.schemas: JSON = {}
        self._open: list[type] = []
        self._recursive: set[type] = set()

    def write(self, kind: type, schema: Callable[[], JSON]) -> JSON:
        """The schema of ``kind``, in place, or by reference when it contains itself."""
        reference = {"$ref": f"#/$defs/{kind.__name__}"}
        if kind in self._open:
            self._recursive.add(kind)
            return reference
        self._open.append(kind)
        written = schema()
        self._open.pop()
        if kind not in self._recursive:
            return written
        self.schemas[kind.__name__] = written
        return reference


class Shape(ABC):
    """One type hint."""

    #: True when the shape takes a whole JSON object as it comes, see ``signature``.
    whole = False

    @abstractmethod
    def schema(self, definitions: Definitions) -> JSON:
        """The JSON Schema of the shape."""

    @abstractmethod
    def read(self, value: Any) -> Any:
        """``value`` as the type.

        :raises Mismatch: naming the field that does not fit.
        """


def document(shape: Shape) -> JSON:
    """The complete JSON Schema of ``shape``."""
    definitions = Definitions()
    schema = shape.schema(definitions)
    return {**schema, "$defs": definitions.schemas} if definitions.schemas else schema


def name_of(value: Any) -> str:
    """What JSON calls ``value``, for messages."""
    names: tuple[tuple[Any, str], ...] = (
        (type(None), "null"), (bool, "boolean"), (int | float, "number"), (str, "string"),
        (list, "array"), (dict, "object"), (bytes, "bytes"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), type(value).__name__)


class Anything(Shape):
    whole = True

    def schema(self, definitions: Definitions) -> JSON:
        return {}

    def read(self, value: Any) -> Any:
        return value


class Choice(Shape):
    """A literal or an enum: one of a few values."""

    def __init__(self, choices: dict[Any, Any]) -> None:
        self._choices = choices

    def schema(self, definitions: Definitions) -> JSON:
        kinds = {name_of(choice) for choice in self._choices}
        kind = {"type": kinds.pop()} if len(kinds) == 1 else {}
        return {**kind, "enum": list(self._choices)}

    def read(self, value: Any) -> Any:
        for choice, meaning in self._choices.items():
            # Python takes True for 1; JSON does not.
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return meaning
        allowed = ", ".join(repr(choice) for choice in self._choices)
        raise Mismatch(f"expected one of {allowed}, got {value!r}")


class Items(Shape):
    """A list, set, or tuple of any length."""

    def __init__(self, item: Shape, make: Callable[[list[Any]], Any], unique: bool = False) -> None:
        self._item, self._make, self._unique = item, make, unique

    def schema(self, definitions: Definitions) -> JSON:
        unique = {"uniqueItems": True} if self._unique else {}
        return {"type": "array", "items": self._item.schema(definitions), **unique}

    def read(self, value: Any) -> Any:
        if not isinstance(value, list):
            raise Mismatch(f"expected an array, got {name_of(value)}")
        return self._make([read_at(self._item, item, f"[{index}]") for index, item in enumerate(value)])


class Row(Shape):
    """A tuple of known length."""

    def __init__(self, items: list[Shape]) -> None:
        self._items = items

    def schema(self, definitions: Definitions) -> JSON:
        items = [item.schema(definitions) for item in self._items]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}

    def read(self, value: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(self._items):
            raise Mismatch(f"expected an array of {len(self._items)}, got {name_of(value)}")
        pairs = zip(self._items, value, strict=True)
        return tuple(read_at(shape, item, f"[{index}]") for index, (shape, item) in enumerate(pairs))


class Table(Shape):
    """A dictionary with text keys."""

    whole = True

    def __init__(self, item: Shape) -> None:
        self._item = item

    def schema(self, definitions: Definitions) -> JSON:
        item = self._item.schema(definitions)
        return {"type": "object", "additionalProperties": item} if item else {"type": "object"}

    def read(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise Mismatch(f"expected an object, got {name_of(value)}")
        return {key: read_at(self._item, item, key) for key, item in value.items()}


class Either(Shape):
    """A union; the first member that fits wins."""

    def __init__(self, members: list[Shape], null: Shape | None) -> None:
        self._members = members if null is None else [*members, null]
        self._null = null is not None
        self._others = members
        self.whole = any(member.whole for member in members)

    def schema(self, definitions: Definitions) -> JSON:
        schemas = [member.schema(definitions) for member in self._members]
        if all(set(schema) == {"type"} and isinstance(schema["type"], str) for schema in schemas):
            return {"type": list(dict.fromkeys(schema["type"] for schema in schemas))}
        return {"anyOf": schemas}

    def read(self, value: Any) -> Any:
        if value is None and self._null:
            return None
        problems: list[Mismatch] = []
        for member in self._others:
            try:
                return member.read(value)
            except Mismatch as problem:
                problems.append(problem)
        raise _nearest(problems)


def _nearest(problems: list[Mismatch]) -> Mismatch:
    """The problem of the member that fitted furthest, or all of them when none fitted at all."""
    deepest = max(problems, key=lambda problem: len(problem.path))
    if deepest.path or len(problems) == 1:
        return deepest
    return Mismatch("; or ".join(problem.message for problem in problems))


class Described(Shape):
    """A shape with words for people and models."""

    def __init__(self, inner: Shape, description: str) -> None:
        self._inner, self._description = inner, description
        self.whole = inner.whole

    def schema(self, definitions: Definitions) -> JSON:
        return {**self._inner.schema(definitions), "description": self._description}

    def read(self, value: Any) -> Any:
        return self._inner.read(value)


def read_at(shape: Shape, value: Any, step: str) -> Any:
    """Reads ``value``; a mismatch names where it is."""
    try:
        return shape.read(value)
    except Mismatch as problem:
        raise problem.under(step) from None
