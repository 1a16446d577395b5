"""Values to bytes and errors to text, and back."""

from __future__ import annotations

import datetime
import enum
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


@pytest.mark.parametrize("fast", [True, False], ids=["orjson", "json"])
@pytest.mark.parametrize(("value", "text"), ENCODED, ids=str)
def test_encodes(monkeypatch: pytest.MonkeyPatch, value: Any, text: bytes, fast: bool) -> None:
    if fast:
        pytest.importorskip("orjson")
    else:
        monkeypatch.setattr(codec, "orjson", None)
    assert codec.encode(value) == (text, False)


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
