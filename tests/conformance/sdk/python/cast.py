"""The functions that every player offers, in Python."""

import asyncio
import gc
from collections import Counter

from agentos import AgentOSError, Context, Worker

#: What happened to the calls of a key, see README.
notes: dict[str, Counter[str]] = {}


def note(key, what):
    notes.setdefault(key, Counter())[what] += 1


def cast(worker: Worker, language: str) -> None:
    def offers(name, **options):
        return worker.function(f"{language}::{name}", **options)

    @offers("echo")
    async def echo(value):
        return value

    @offers("add", description="Adds two numbers.")
    async def add(a: int, b: int) -> int:
        return a + b

    @offers("nan")
    async def nan(_value):
        return {"worth": float("nan")}

    @offers("fail")
    async def fail(body):
        more = {key: body[key] for key in ("reason", "details") if key in body}
        raise AgentOSError(body["code"], body["message"], **more)

    @offers("fail_first")
    async def fail_first(key: str, times: int) -> int:
        failed = notes.setdefault(key, Counter())["started"]
        if failed < times:
            note(key, "started")
            raise AgentOSError("overloaded", "not yet")
        return failed

    @offers("throw")
    async def throw(message: str):
        raise RuntimeError(message)

    @offers("relay")
    async def relay(ctx: Context, function: str, payload=None, timeout_ms: int | None = None):
        timeout = None if timeout_ms is None else timeout_ms / 1000
        return await ctx.trigger(function, payload, timeout=timeout)

    @offers("left")
    async def left(ctx: Context, _value):
        return ctx.time_left * 1000

    @offers("context")
    async def context(ctx: Context, _value):
        return {
            "function": ctx.function, "caller": ctx.caller, "metadata": ctx.metadata, "wants_stream": ctx.wants_stream
        }

    @offers("note")
    async def take_note(key: str):
        note(key, "started")

    @offers("noted")
    async def noted(key: str):
        found = notes.get(key, Counter())
        return {what: found[what] for what in ("started", "cancelled", "produced")}

    @offers("hang")
    async def hang(key: str):
        note(key, "started")
        try:
            await asyncio.Event().wait()
        finally:
            note(key, "cancelled")

    @offers("count", streams=True)
    async def count(ctx: Context, n: int, key: str):
        for number in range(n):
            note(key, "produced")
            await ctx.send(number)
        return {"counted": n}

    @offers("list")
    async def numbers(n: int):
        for number in range(n):
            yield number

    @offers("pieces")
    async def pieces(n: int, bytes: int):
        for number in range(n):
            yield number.to_bytes(1) * bytes

    @offers("breaks")
    async def breaks(n: int):
        for number in range(n):
            yield number
        raise AgentOSError("conflict", f"after {n}", reason="broken")

    @offers("endless")
    async def endless(key: str):
        note(key, "started")
        number = 0
        try:
            while True:
                yield number
                number += 1
        finally:
            note(key, "cancelled")

    @offers("offer")
    async def offer(id: str):
        worker.function(id)(echo)
        try:
            await worker.register()
        except AgentOSError:
            await worker.unregister(id)
            raise

    @offers("withdraw")
    async def withdraw(id: str):
        await worker.unregister(id)

    @offers("reopen")
    async def reopen(times: int):
        """Workers of the same process that come, work and go."""
        for _ in range(times):
            async with Worker(f"guest-{language}") as guest:
                await guest.trigger(f"{language}::echo", "guest")
        gc.collect()
