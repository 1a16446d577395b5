"""Python's part of the sum: adds the first number and passes the rest on to Rust."""

from agentos import Context, Worker

worker = Worker("sum-python")


@worker.function("sum::python")
async def add(ctx: Context, numbers: list[int], total: int) -> int:
    first, *rest = numbers
    sum: int = await ctx.trigger("sum::rust", {"numbers": rest, "total": total + first})
    return sum


worker.run()
