"""Event sources as decorators: the function below is called when something happens.

Each offers its function too, as ``<worker>::<name of the function>``, unless ``@worker.function``
below it has done so already.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Triggers(ABC):
    """The decorators for event sources."""

    @abstractmethod
    def _bound(self, trigger_type: str, config: dict[str, Any], id: str | None) -> Callable[[F], F]:
        """Offers a function if need be, and binds it."""

    def cron(
        self,
        expression: str,
        *,
        timezone: str | None = None,
        missed: Literal["skip", "once", "all"] | None = None,
        name: str | None = None,
        condition: str | None = None,
        id: str | None = None,
    ) -> Callable[[F], F]:
        """Calls the function at the times of a crontab expression, with or without seconds.

        It may take a :class:`agentos.CronRun`.

        :param timezone: where the clock hangs, ``Europe/Berlin``; UTC unless said otherwise.
        :param missed: what becomes of times that passed while nothing could run: nothing, one run,
            or one for each.
        :param name: makes it the same job after a restart of the worker.
        :param condition: a function that is asked first; exactly ``False`` skips the event.
        """
        config = {"expression": expression, "timezone": timezone, "missed": missed, "name": name}
        return self._bound("cron", {**config, "condition_function_id": condition}, id)

    def subscribe(self, topic: str, *, condition: str | None = None, id: str | None = None) -> Callable[[F], F]:
        """Calls the function with what is published to ``topic``, ``*`` and ``>`` being wildcards.

        At most once; what must not be lost is for :meth:`consume`.
        """
        return self._bound("subscribe", {"topic": topic, "condition_function_id": condition}, id)

    def consume(
        self,
        topic: str,
        *,
        fifo: bool = False,
        attempts: int | None = None,
        concurrency: int | None = None,
        backoff: float | None = None,
        condition: str | None = None,
        id: str | None = None,
    ) -> Callable[[F], F]:
        """Calls the function with what is durably published to ``topic``, again until it succeeds.

        :param fifo: one message at a time, in order of publication.
        :param attempts: in all; 3 unless said otherwise.
        :param concurrency: messages in work at once; 10 unless said otherwise.
        :param backoff: seconds before the second attempt, doubling with each; 1 unless said otherwise.
        """
        rules = {
            "type": "fifo" if fifo else "standard",
            "maxRetries": attempts,
            "concurrency": concurrency,
            "backoffDelayMs": None if backoff is None else round(backoff * 1000),
        }
        config = {"topic": topic, "queue_config": _said(rules), "condition_function_id": condition}
        return self._bound("durable:subscriber", config, id)

    def watch(
        self, scope: str | None = None, key: str | None = None, *, condition: str | None = None, id: str | None = None
    ) -> Callable[[F], F]:
        """Calls the function, with an :class:`agentos.StateChange`, when a value of the state changes.

        What is left out matches everything.
        """
        return self._bound("state", {"scope": scope, "key": key, "condition_function_id": condition}, id)

    def watch_items(
        self,
        stream: str,
        group: str | None = None,
        item: str | None = None,
        *,
        condition: str | None = None,
        id: str | None = None,
    ) -> Callable[[F], F]:
        """Calls the function, with an :class:`agentos.ItemEvent`, when an item of a stream changes,
        or something is sent over it."""
        config = {"stream_name": stream, "group_id": group, "item_id": item}
        return self._bound("stream", {**config, "condition_function_id": condition}, id)


def _said(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if value is not None}
