"""The private native module: the mailbox of the Rust SDK. See ``sdk-python/src``."""

from typing import Any, final

VERSION: str
STREAM_WINDOW_CHUNKS: int

CALL: int
CANCEL: int
CREDIT: int
CHUNK: int
DONE: int
FAILED: int
REGISTERED: int
STATE: int

FORM_JSON: int
FORM_BINARY: int
FORM_VALUE: int

ORDER_CALL: int
ORDER_REPLY: int
ORDER_FAIL: int
ORDER_CANCEL: int
ORDER_READ: int

class Refusal(Exception):
    """An error of the bus; its one argument is the error as JSON text."""

def dumps(value: Any) -> bytes | None: ...

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
    def submit(self, orders: list[tuple[Any, ...]]) -> list[tuple[int, str]]: ...
    def send(
        self, call: tuple[str, bytes, bool, int | None, str | None, str | None, str | None]
    ) -> None: ...
    def chunk(self, id: int, data: bytes, binary: bool) -> bool: ...
    def close(self) -> None: ...
