"""Values to bytes and errors to text, and back."""

from __future__ import annotations

import datetime
import enum
import json
import pickle
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agentos import AgentOSError, codec
from agentos.errors import from_exception, from_wire
from pydantic import BaseModel


class Level(enum.Enum):
    LOW = 1


@dataclass
class Box:
    level: Level


class Model(BaseModel):
    when: datetime.date


class Array:
    def tolist(self) -> list[float]:
        return [0.5]


ENCODED = [
    (None, b"null"),
    ({"a": [1, "ö"]}, '{"a":[1,"ö"]}'.encode()),
    (Box(Level.LOW), b'{"level":1}'),
    (Model(when=datetime.date(2024, 1, 2)), b'{"when":"2024-01-02"}'),
    ({"id": uuid.UUID(int=1)}, b'{"id":"00000000-0000-0000-0000-000000000001"}'),
    ([Path("/a"), {1}, (2,), b"\x00"], b'["/a",[1],[2],"AA=="]'),
    ({1: 2}, b'{"1":2}'),
    (Array(), b"[0.5]"),
    (2**70, b"1180591620717411303424"),
]


@pytest.mark.parametrize("native", [True, False], ids=["native", "json"])
@pytest.mark.parametrize(("value", "text"), ENCODED, ids=str)
def test_encodes(monkeypatch: pytest.MonkeyPatch, value: Any, text: bytes, native: bool) -> None:
    if not native:
        monkeypatch.setattr(codec._agentos, "dumps", lambda value: None)
    assert codec.encode(value) == (text, False)


class Loud(str):
    """Not a plain string: who made it may have meant something."""


@pytest.mark.parametrize(
    "value",
    [0, -1, 2**63 - 1, 2**64, -(2**70), 1.5, -0.0, 1e300, 5e-324, "", "é\n\"\\\x00\U0001f600", True, None, (1, [2]), Loud("a")],
    ids=repr,
)
def test_says_the_same_as_the_standard_library(value: Any) -> None:
    assert json.loads(codec.dumps([value, {"k": value}])) == json.loads(json.dumps([value, {"k": value}]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")], "\ud800"], ids=repr)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        codec.encode({"value": value})


def test_depth_is_bounded_by_python_only() -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    assert codec.dumps(deep) == b"[" * 501 + b"]" * 501


def test_bytes_travel_as_they_are() -> None:
    assert codec.encode(b"\xff") == (b"\xff", True)
    assert codec.decode(b"\xff", True) == b"\xff"


def test_nothing_reads_as_none() -> None:
    assert codec.decode(b"") is None


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        codec.encode([object()])


def test_errors_survive_the_way() -> None:
    error = AgentOSError("overloaded", "later", origin="engine", details={"retry_after_ms": 5})
    for back in (from_wire(error.to_wire()), pickle.loads(pickle.dumps(error))):
        assert (back.code, back.message, back.origin, back.retryable, back.details) == (
            "overloaded", "later", "engine", True, {"retry_after_ms": 5},
        )
    assert str(error) == "overloaded: later"


def test_a_code_of_the_workers_own_becomes_the_reason() -> None:
    error = AgentOSError("card_declined", "no money")
    assert (error.code, error.reason) == ("failed", "card_declined")


def test_an_exception_becomes_failed_with_its_stack() -> None:
    try:
        raise KeyError("a")
    except KeyError as caught:
        error = from_exception(caught)
    assert (error.code, error.reason, error.origin) == ("failed", "KeyError", "worker")
    assert "test_codec.py" in error.details["stack"]
