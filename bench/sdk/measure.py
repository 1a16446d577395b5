"""What the Python programs share: so many loops that call one after the other, and what they took."""

import asyncio
import json
import time

PAYLOAD = {"n": 1, "text": "x" * 43}


async def measure(call, in_flight: int, warmup_ms: int, seconds: float) -> None:
    """Awaits `call()` in so many loops and prints what one line of JSON can hold."""
    took: list[float] = []
    begin = time.perf_counter() + warmup_ms / 1000
    end = begin + seconds

    async def loop() -> None:
        while (sent := time.perf_counter()) < end:
            answer = await call()
            now = time.perf_counter()
            if answer != PAYLOAD and answer.get("text") != PAYLOAD["text"]:
                raise SystemExit(f"a wrong answer: {answer}")
            if begin <= now < end:
                took.append(now - sent)

    await asyncio.gather(*(loop() for _ in range(in_flight)))
    took.sort()
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] * 1e6 if took else None  # noqa: E731
    print(json.dumps({"per_second": len(took) / seconds, "p50_us": at(0.5), "p99_us": at(0.99)}), flush=True)
