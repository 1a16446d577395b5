"""What a payload becomes, and what is said of it: one row per kind of hint."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import pytest
from agentos.hints import shape_of
from agentos.shapes import Mismatch, document
from pydantic import BaseModel, Field


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    """A place."""

    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


class Options(TypedDict):
    path: str
    depth: NotRequired[int]


class Pair(NamedTuple):
    left: str
    right: int = 1


class User(BaseModel):
    name: str = Field(description="what to call them")
    age: int = 0


FITS = [
    (int, 3, 3),
    (int, 3.0, 3),
    (float, 3, 3.0),
    (str, "a", "a"),
    (bool, True, True),
    (Any, {"a": [1]}, {"a": [1]}),
    (None, None, None),
    (bytes, b"\x00", b"\x00"),
    (bytes, "AAE=", b"\x00\x01"),
    (list[int], [1, 2], [1, 2]),
    (set[int], [1, 2, 2], {1, 2}),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2], (1, 2)),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (dict, {"a": None}, {"a": None}),
    (int | None, None, None),
    (int | str, "a", "a"),
    (Literal["a", 1], 1, 1),
    (Colour, "red", Colour.RED),
    (datetime.date, "2024-02-29", datetime.date(2024, 2, 29)),
    (datetime.datetime, "2024-02-29T12:00:00Z", datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)),
    (uuid.UUID, "12345678123456781234567812345678", uuid.UUID("12345678123456781234567812345678")),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (Point, {"x": 1, "unknown": 2}, Point(1)),
    (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)])),
    (Options, {"path": "a"}, {"path": "a"}),
    (Pair, {"left": "a"}, Pair("a")),
    (User, {"name": "Ada"}, User(name="Ada")),
    (Annotated[int, "how many"], 1, 1),
]


@pytest.mark.parametrize(("hint", "value", "expected"), FITS, ids=str)
def test_reads_what_fits(hint: Any, value: Any, expected: Any) -> None:
    read = shape_of(hint).read(value)
    assert read == expected
    assert type(read) is type(expected)


MISFITS = [
    (int, "3", "", "expected an integer, got string"),
    (int, True, "", "expected an integer, got boolean"),
    (int, 1.5, "", "expected an integer, got number"),
    (float, False, "", "expected a number, got boolean"),
    (float, float("nan").hex, "", "expected a number, got"),
    (str, 1, "", "expected a string, got number"),
    (bytes, "%", "", "expected bytes or base64 text"),
    (list[int], [1, "2"], "[1]", "expected an integer, got string"),
    (tuple[int, str], [1], "", "expected an array of 2"),
    (dict[str, int], {"a": "b"}, "a", "expected an integer"),
    (int | None, "a", "", "expected an integer, got string"),
    (int | str, [], "", "expected an integer, got array; or expected a string, got array"),
    (Literal["a", 1], True, "", "expected one of 'a', 1, got True"),
    (Colour, "green", "", "expected one of 'red', 'blue', got 'green'"),
    (datetime.date, "yesterday", "", "expected a date, got string"),
    (Point, {"y": 1}, "x", "required, but missing"),
    (Point, {"x": 1, "tags": ["a", 2]}, "tags[1]", "expected a string"),
    (Point, [1], "", "expected an object, got array"),
    (Tree, {"value": 1, "children": [{"value": "2"}]}, "children[0].value", "expected an integer"),
    (list[Point] | None, [{"x": 1}, {"x": None}], "[1].x", "expected an integer, got null"),
    (Options, {"path": 1}, "path", "expected a string"),
    (User, {"name": "Ada", "age": "old"}, "age", "input should be a valid integer"),
]


@pytest.mark.parametrize(("hint", "value", "path", "message"), MISFITS, ids=str)
def test_names_what_does_not_fit(hint: Any, value: Any, path: str, message: str) -> None:
    with pytest.raises(Mismatch) as caught:
        shape_of(hint).read(value)
    assert caught.value.path == path
    assert message in caught.value.message


SCHEMAS = [
    (int, {"type": "integer"}),
    (str | None, {"type": ["string", "null"]}),
    (list[int] | None, {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}),
    (Any, {}),
    (dict[str, Any], {"type": "object"}),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
    (
        Point,
        {
            "type": "object",
            "description": "A place.",
            "properties": {
                "x": {"type": "integer"},
                "y": {"type": "integer", "default": 0},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["x"],
        },
    ),
    (
        Options,
        {
            "type": "object",
            "properties": {"path": {"type": "string"}, "depth": {"type": "integer"}},
            "required": ["path"],
        },
    ),
    (
        Tree,
        {
            "$ref": "#/$defs/Tree",
            "$defs": {
                "Tree": {
                    "type": "object",
                    "properties": {
                        "value": {"type": "integer"},
                        "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                    },
                    "required": ["value"],
                }
            },
        },
    ),
]


@pytest.mark.parametrize(("hint", "schema"), SCHEMAS, ids=str)
def test_schema(hint: Any, schema: Any) -> None:
    assert document(shape_of(hint)) == schema


def test_pydantic_brings_its_own_schema() -> None:
    schema = document(shape_of(User))
    assert schema["properties"]["name"]["description"] == "what to call them"


def test_a_type_without_a_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object.* has no JSON form|Lock"):
        shape_of(type("Lock", (), {}))
