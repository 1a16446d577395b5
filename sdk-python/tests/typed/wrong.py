"""Wrong use: mypy has to refuse each marked line, or calls the mark unused. Never run."""

from __future__ import annotations

from agentos import Context, HttpResponse, Worker

worker = Worker("wrong")
Worker()  # type: ignore[call-arg]
Worker("wrong", tokn="x")  # type: ignore[call-arg]


@worker.function(42)  # type: ignore[arg-type]
async def numbered() -> None: ...


@worker.cron("@daily", missed="sometimes")  # type: ignore[arg-type]
async def missed() -> None: ...


@worker.consume("paid", atempts=5)  # type: ignore[call-arg]
async def consumed() -> None: ...


@worker.function("wrong::typed")
async def typed(ctx: Context, name: str) -> str:
    ctx.deadlin  # type: ignore[attr-defined]
    ctx.time_left = 3  # type: ignore[misc]
    return name


async def main() -> None:
    await typed(worker, "Ada")  # type: ignore[arg-type]
    await worker.trigger(typed, {})  # type: ignore[arg-type]
    await worker.trigger("wrong::typed", {}, timeout="5s")  # type: ignore[arg-type]
    worker.stream("wrong::typed", {}, 5)  # type: ignore[call-arg]
    await worker.store(7).get("a")  # type: ignore[arg-type]
    worker.items("board")  # type: ignore[call-arg]
    HttpResponse({}, status_code="200")  # type: ignore[arg-type]
