"""The engine's stores as objects: values of the state, and items of streams.

Each method is one call of a built-in function, made by whoever handed out the object.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

V = TypeVar("V")

#: Makes a call and waits for its result.
Trigger = Callable[[str, Any], Awaitable[Any]]


class Entry(NamedTuple, Generic[V]):
    """A value with its key and version."""

    key: str
    value: V
    version: int


class Written(TypedDict, total=False):
    """What a write has done."""

    old_value: Any
    new_value: Any
    #: For ``expected_version`` of the next write; said when one was expected, or asked for.
    version: int
    #: Steps of an update that were skipped, and why.
    errors: list[dict[str, Any]]


class Store(Generic[V]):
    """One scope of the state."""

    def __init__(self, trigger: Trigger, scope: str) -> None:
        self._trigger, self.scope = trigger, scope

    async def get(self, key: str) -> V | None:
        value: V | None = await self._call("get", key=key)
        return value

    async def set(
        self,
        key: str,
        value: V,
        *,
        expected_version: int | None = None,
        versioned: bool = False,
        ttl: float | None = None,
    ) -> Written:
        """Writes a value.

        :param expected_version: write only if this is the value's version, 0 if there is none.
        :param versioned: say the version that was written.
        :param ttl: seconds after which the value is forgotten.
        :raises AgentOSError: ``conflict`` when the version is another.
        """
        written: Written = await self._call(
            "set", key=key, value=value, expected_version=expected_version, versioned=versioned, ttl_ms=_ms(ttl)
        )
        return written

    async def update(self, key: str, ops: list[dict[str, Any]], *, expected_version: int | None = None) -> Written:
        """Changes the value where it is, without a race: ``[{"type": "increment", "path": "n", "by": 1}]``."""
        written: Written = await self._call("update", key=key, ops=ops, expected_version=expected_version)
        return written

    async def delete(self, key: str, *, expected_version: int | None = None) -> V | None:
        """Deletes a value, and gives it back."""
        value: V | None = await self._call("delete", key=key, expected_version=expected_version)
        return value

    async def entries(self, prefix: str | None = None, *, page_size: int | None = None) -> AsyncIterator[Entry[V]]:
        """All entries in order of their keys, fetched page by page as they are read."""
        cursor: str | None = None
        while True:
            page = await self._call("entries", prefix=prefix, limit=page_size, cursor=cursor)
            for entry in page["entries"]:
                yield Entry(entry["key"], entry["value"], entry["version"])
            cursor = page.get("cursor")
            if cursor is None:
                return

    async def _call(self, verb: str, **request: Any) -> Any:
        return await self._trigger(f"state::{verb}", _said({"scope": self.scope, **request}))


class Items(Generic[V]):
    """One group of a stream's items; whoever watches it hears of every write."""

    def __init__(self, trigger: Trigger, stream: str, group: str) -> None:
        self._trigger, self.stream, self.group = trigger, stream, group

    async def get(self, id: str) -> V | None:
        item: V | None = await self._call("get", item_id=id)
        return item

    async def set(self, id: str, data: V) -> Written:
        written: Written = await self._call("set", item_id=id, data=data)
        return written

    async def update(self, id: str, ops: list[dict[str, Any]]) -> Written:
        """Changes the item where it is, as :meth:`Store.update` does."""
        written: Written = await self._call("update", item_id=id, ops=ops)
        return written

    async def delete(self, id: str) -> V | None:
        """Deletes an item, and gives it back."""
        item: V | None = (await self._call("delete", item_id=id)).get("old_value")
        return item

    async def all(self) -> list[V]:
        """The group's items, by id."""
        items: list[V] = await self._call("list")
        return items

    async def send(self, type: str, data: Any = None, *, id: str | None = None) -> None:
        """Tells those who watch, and stores nothing; ``id`` tells those of one item too."""
        await self._call("send", type=type, data=data, id=id)

    async def _call(self, verb: str, **request: Any) -> Any:
        place = {"stream_name": self.stream, "group_id": self.group}
        return await self._trigger(f"stream::{verb}", _said({**place, **request}))


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _said(request: dict[str, Any]) -> dict[str, Any]:
    """Without what was left out; ``None`` as a value is ``null``."""
    return {key: value for key, value in request.items() if value is not None or key in ("value", "data")}
