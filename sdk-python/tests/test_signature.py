"""The rule by which a payload becomes arguments, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from agentos import AgentOSError, Context, HttpRequest, HttpResponse, Worker, sync
from agentos.functions import Function
from agentos.offers import Book


@dataclass
class Order:
    item: str
    count: int = 1


def offered(function: Any) -> Function:
    worker = Worker("shop")
    worker.function("shop::test")(function)
    return worker._book.functions["shop::test"]


async def nothing() -> None: ...
async def bare(payload): return payload  # type: ignore[no-untyped-def]
async def whole(order: Order) -> None: ...
async def optional(order: Order | None = None) -> None: ...
async def anything(payload: Any) -> None: ...
async def one(name: str) -> None: ...
async def one_list(numbers: list[int]) -> None: ...
async def one_default(name: str = "you") -> None: ...
async def two(a: int, b: int = 2) -> None: ...
async def with_context(ctx: Context, name: str) -> None: ...
async def positional(a: int, /, b: int) -> None: ...
async def more(a: int, **rest: Any) -> None: ...


BOUND = [
    (nothing, b'{"a":1}', [], {}),
    (bare, b'{"a":1}', [], {"payload": {"a": 1}}),
    (bare, b"", [], {"payload": None}),
    (whole, b'{"item":"tea"}', [], {"order": Order("tea")}),
    (optional, b"null", [], {}),
    (anything, b"[1]", [], {"payload": [1]}),
    (one, b'{"name":"Ada"}', [], {"name": "Ada"}),
    (one, b'"Ada"', [], {"name": "Ada"}),
    (one_list, b"[1,2]", [], {"numbers": [1, 2]}),
    (one_list, b'{"numbers":[1,2]}', [], {"numbers": [1, 2]}),
    (one_default, b"null", [], {}),
    (two, b'{"a":1}', [], {"a": 1}),
    (with_context, b'"Ada"', [], {"ctx": "the context", "name": "Ada"}),
    (positional, b'{"b":2,"a":1}', [1], {"b": 2}),
    (more, b'{"a":1,"z":[]}', [], {"a": 1, "z": []}),
]


@pytest.mark.parametrize(("function", "payload", "args", "kwargs"), BOUND, ids=lambda value: getattr(value, "__name__", None))
def test_binds(function: Any, payload: bytes, args: Any, kwargs: Any) -> None:
    assert offered(function).arguments(payload, False, "the context") == (args, kwargs)


REFUSED = [
    (one, b"null", "name", "input of `shop::test`: name: expected a string, got null"),
    (one, b"{}", "name", "input of `shop::test`: name: required, but missing"),
    (two, b'{"a":"1"}', "a", "input of `shop::test`: a: expected an integer, got string"),
    (two, b'{"a":1,"c":3}', "c", "input of `shop::test`: c: unknown; known are a, b"),
    (two, b"[1,2]", ".", "input of `shop::test`: expected an object, got array"),
    (whole, b'{"item":"tea","count":"x"}', "count", "input of `shop::test`: count: expected an integer, got string"),
    (one, b"{", ".", "input of `shop::test`: not JSON"),
]


@pytest.mark.parametrize(("function", "payload", "field", "message"), REFUSED, ids=lambda value: getattr(value, "__name__", None))
def test_refuses(function: Any, payload: bytes, field: str, message: str) -> None:
    with pytest.raises(AgentOSError) as caught:
        offered(function).arguments(payload, False, None)
    error = caught.value
    assert (error.code, error.origin, error.details) == ("invalid_input", "caller", {"field": field})
    assert error.message.startswith(message)


def test_tells_the_engine_what_the_hints_say() -> None:
    async def buy(item: Annotated[str, "what to buy"], count: int = 1) -> list[Order]:
        """Buys something.

        At any price.
        """
        return []

    order = {"type": "object", "properties": {"item": {"type": "string"}, "count": {"type": "integer", "default": 1}}}
    assert offered(buy).spec == {
        "id": "shop::test",
        "description": "Buys something.",
        "input_schema": {
            "type": "object",
            "properties": {
                "item": {"type": "string", "description": "what to buy"},
                "count": {"type": "integer", "default": 1},
            },
            "required": ["item"],
            "additionalProperties": False,
        },
        "output_schema": {"type": "array", "items": {**order, "required": ["item"]}},
        "streams": False,
        "idempotent": False,
    }


def test_generators_stream() -> None:
    async def count(to: int):  # type: ignore[no-untyped-def]
        yield to

    assert offered(count).spec["streams"] is True


def test_refuses_what_cannot_work_when_it_is_defined() -> None:
    def threaded(ctx: Context) -> None: ...
    async def looped(ctx: sync.Context) -> None: ...
    async def star(*args: int) -> None: ...
    async def odd(lock: Book) -> None: ...

    for function, message in [
        (threaded, "annotate the context of this function as agentos.sync.Context"),
        (looped, "as agentos.Context"),
        (star, r"\*args has no place in a payload"),
        (odd, "parameter lock: Book has no JSON form"),
    ]:
        with pytest.raises(TypeError, match=message):
            offered(function)


def test_one_id_once() -> None:
    worker = Worker("shop")
    worker.function()(one)
    assert list(worker._book.functions) == ["shop::one"]
    with pytest.raises(ValueError, match="shop::one is offered already"):
        worker.function()(one)


def test_http_fills_parameters_from_the_request() -> None:
    worker = Worker("shop")

    @worker.http("POST", "/shops/:shop/orders", auth="none")
    @worker.function("shop::order")
    async def order(shop: int, order: Order, dry: bool = False) -> str:
        return ""

    function = worker._book.functions["shop::order_http"]
    request = b'{"path_params":{"shop":"7"},"query_params":{"dry":"true"},"body":{"item":"tea"}}'
    assert function.arguments(request, False, None) == ([], {"shop": 7, "order": Order("tea"), "dry": True})
    (trigger,) = worker._book.triggers.values()
    assert trigger["config"] == {"http_method": "POST", "api_path": "/shops/:shop/orders", "auth": "none"}
    with pytest.raises(AgentOSError, match="shop: expected an integer, got string"):
        function.arguments(b'{"path_params":{"shop":"x"}}', False, None)
    with pytest.raises(AgentOSError, match="body: expected an object, got null"):
        function.arguments(b'{"path_params":{"shop":"7"}}', False, None)


def test_http_gives_the_request_to_who_asks() -> None:
    worker = Worker("shop")

    @worker.http("GET", "/")
    async def index(request: HttpRequest) -> str:
        return ""

    function = worker._book.functions["shop::index_http"]
    _, named = function.arguments(b'{"method":"GET","path":"/","headers":{"a":"b"}}', False, None)
    assert named["request"] == HttpRequest("GET", "/", headers={"a": "b"})


def test_http_responses() -> None:
    worker = Worker("shop")
    worker.http("GET", "/")(nothing)
    finish = worker._book.functions["shop::nothing_http"].finish
    assert finish("x") == {"status_code": 200, "headers": {}, "body": "x"}
    assert finish(HttpResponse("x", 404, {"a": "b"})) == {"status_code": 404, "headers": {"a": "b"}, "body": "x"}
    assert finish({"status_code": 204}) == {"status_code": 204}


def test_triggers_find_the_function_below() -> None:
    worker = Worker("shop")

    @worker.on("cron", {"expression": "0 * * * *"})
    @worker.function("shop::tick")
    async def tick() -> None: ...

    (trigger,) = worker._book.triggers.values()
    assert (trigger["type"], trigger["function"]) == ("cron", "shop::tick")
    with pytest.raises(TypeError, match="put the trigger above @worker.function"):
        worker.on("cron")(nothing)
