import asyncio
from agentos import Worker

worker = Worker("hello-python")

@worker.function("hello-python::greet")
async def greet(name: str) -> str:
    return f"hello {name}"

async def main() -> None:
    async with worker:
        print(await worker.trigger("hello-python::greet", {"name": "Ada"}))

asyncio.run(main())
