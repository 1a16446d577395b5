"""The private native module: the mailbox of the Rust SDK. See ``sdk-python/src``."""

from typing import Any, Literal, final

VERSION: str
STREAM_WINDOW_CHUNKS: int

CALL: int
CANCEL: int
CREDIT: int
CHUNK: int
DONE: int
REGISTERED: int
STATE: int

class Refusal(Exception):
    """An error of the bus; its one argument is the error as JSON text."""

@final
class Mailbox:
    def __new__(
        cls,
        name: str,
        *,
        url: str | None = None,
        token: str | None = None,
        build: str | None = None,
        description: str | None = None,
        sdk_version: str | None = None,
    ) -> Mailbox: ...
    def fileno(self) -> int: ...
    def drain(self, max: int) -> list[tuple[Any, ...]]: ...
    def register(self, registration: str) -> int: ...
    def unregister(self, functions: list[str], triggers: list[str]) -> None: ...
    def call(
        self,
        function: str,
        data: bytes,
        binary: bool,
        delivery: Literal["reply", "stream", "void"],
        timeout_ms: int | None = None,
        traceparent: str | None = None,
        baggage: str | None = None,
        metadata: str | None = None,
    ) -> int: ...
    def cancel(self, id: int) -> None: ...
    def read(self, id: int, chunks: int) -> None: ...
    def reply(self, id: int, data: bytes, binary: bool) -> None: ...
    def fail(self, id: int, body: str) -> None: ...
    def chunk(self, id: int, data: bytes, binary: bool) -> bool: ...
    def close(self) -> None: ...
