"""The one shape of an error: what a call raises, and what a handler raises to its caller.

Knows the closed set of codes and nothing of how an error travels.
"""

from __future__ import annotations

import json
import traceback
from enum import StrEnum
from typing import Any, Literal

Origin = Literal["caller", "engine", "worker"]


class Code(StrEnum):
    """What went wrong. Each code has a page in ``docs/errors/``."""

    NOT_FOUND = "not_found"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    WORKER_LOST = "worker_lost"
    OVERLOADED = "overloaded"
    INVALID_INPUT = "invalid_input"
    INVALID_FRAME = "invalid_frame"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    CONFLICT = "conflict"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


_CODES = frozenset(code.value for code in Code)
_RETRYABLE = frozenset({Code.WORKER_LOST, Code.OVERLOADED, Code.UNAVAILABLE})


class AgentOSError(Exception):
    """A call failed, or a handler wants it to.

    ``code`` is one of :class:`Code`. Any other word is the worker's own name for the error: it
    travels as ``reason`` beside the code ``failed``.
    """

    def __init__(
        self,
        code: Code | str,
        message: str,
        *,
        origin: Origin = "worker",
        retryable: bool | None = None,
        reason: str | None = None,
        details: Any = None,
    ) -> None:
        super().__init__(message)
        if code not in _CODES:
            code, reason = Code.FAILED, reason or str(code)
        self.code = Code(code)
        self.message = message
        self.origin: Origin = origin
        self.retryable = self.code in _RETRYABLE if retryable is None else retryable
        self.reason = reason
        self.details = details

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __repr__(self) -> str:
        return f"AgentOSError({self.code.value!r}, {self.message!r}, origin={self.origin!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.to_wire(),)

    def to_wire(self) -> str:
        """The error as JSON text."""
        body = {
            "code": self.code.value,
            "message": self.message,
            "origin": self.origin,
            "retryable": self.retryable,
            "reason": self.reason,
            "details": self.details,
        }
        return json.dumps({key: value for key, value in body.items() if value is not None}, default=str)


def _revive(text: str) -> AgentOSError:
    return from_wire(text)


def from_wire(text: str) -> AgentOSError:
    """Reads what :meth:`AgentOSError.to_wire` wrote, here or in another language."""
    body = json.loads(text)
    return AgentOSError(
        body["code"],
        body["message"],
        origin=body.get("origin", "engine"),
        retryable=body.get("retryable"),
        reason=body.get("reason"),
        details=body.get("details"),
    )


def from_exception(error: BaseException) -> AgentOSError:
    """What a caller hears of an exception that a handler let out."""
    if isinstance(error, AgentOSError):
        return error
    name = type(error).__name__
    text = str(error)
    stack = "".join(traceback.format_exception(error))
    return AgentOSError(
        Code.FAILED,
        f"{name}: {text}" if text else name,
        reason=name,
        details={"stack": stack},
    )
