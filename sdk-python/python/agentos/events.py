"""What happens, as the functions get it that are bound to event sources."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Literal, TypedDict


@dataclass
class CronRun:
    """A run of a job; times are in UTC."""

    job_id: str
    scheduled_time: datetime.datetime
    actual_time: datetime.datetime


@dataclass
class StateChange:
    """A value of the state was written or deleted."""

    event_type: Literal["state:created", "state:updated", "state:deleted"]
    scope: str
    key: str
    old_value: Any = None
    new_value: Any = None


class ItemEvent(TypedDict):
    """Something happened to an item of a stream, or was sent over it."""

    #: Milliseconds since 1970.
    timestamp: int
    streamName: str
    groupId: str
    id: str | None
    #: ``{"type": "create" | "update" | "delete", "data": item}``, or ``{"type": "event", "event": {...}}``.
    event: dict[str, Any]
