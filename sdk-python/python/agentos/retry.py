"""Calls that are made again when they failed for a reason that passes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .errors import AgentOSError

#: Seconds before the second attempt; doubles with each, with up to a half of it at random.
_PAUSE_FIRST = 0.05
_PAUSE_MAX = 5.0
#: Deadline of a call that names none, as the engine has it.
_TIMEOUT = 30.0


async def retrying(attempt: Callable[[float], Awaitable[Any]], retries: int, timeout: float | None) -> Any:
    """Makes ``attempt``, given the seconds it may take, up to ``retries`` times more while its errors
    are ``retryable``; all together keep to the timeout."""
    ends = time.monotonic() + (_TIMEOUT if timeout is None else timeout)
    pause = _PAUSE_FIRST
    while True:
        try:
            return await attempt(max(0.001, ends - time.monotonic()))
        except AgentOSError as error:
            wait = pause * random.uniform(1, 1.5)
            if not error.retryable or retries <= 0 or time.monotonic() + wait >= ends:
                raise
        await asyncio.sleep(wait)
        retries, pause = retries - 1, min(pause * 2, _PAUSE_MAX)
