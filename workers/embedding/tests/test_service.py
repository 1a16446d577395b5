"""Bounds, and what a call answers; the bus itself is tested elsewhere."""

from __future__ import annotations

import asyncio
import time

import pytest
from agentos import AgentOSError
from embedding.api import GenerateRequest
from embedding.config import Config
from embedding.model import SentenceModel
from embedding.service import Service, wanted

SMALL = Config(texts_max=2, text_chars_max=5, texts_chars_max=8)

REFUSED = [
    (GenerateRequest(), "texts", "expected either `texts` or `text`"),
    (GenerateRequest(texts=["a"], text="b"), "texts", "expected either `texts` or `text`"),
    (GenerateRequest(texts=["a", "b", "c"]), "texts", "expected at most 2 texts, got 3"),
    (GenerateRequest(texts=["a", "bcdefg"]), "texts[1]", "expected at most 5 characters, got 6"),
    (GenerateRequest(texts=["abcde", "abcd"]), "texts", "expected at most 8 characters in all, got 9"),
]


@pytest.mark.parametrize(("request_", "field", "message"), REFUSED)
def test_refuses_what_is_missing_or_too_large(request_: GenerateRequest, field: str, message: str) -> None:
    with pytest.raises(AgentOSError) as caught:
        wanted(request_, SMALL)
    assert caught.value.code == "invalid_input"
    assert caught.value.details == {"field": field}
    assert caught.value.message == f"input of `embedding::generate`: {field}: {message}"


def test_takes_one_text_or_many() -> None:
    assert wanted(GenerateRequest(text=""), SMALL) == [""]
    assert wanted(GenerateRequest(texts=[]), SMALL) == []


def test_answers_in_the_order_of_the_texts(model: SentenceModel) -> None:
    async def run() -> None:
        service = Service(Config(), model)
        long, short = "one two three four five six seven", "one"
        both = await service.generate(GenerateRequest(texts=[long, short]))
        single = await service.generate(GenerateRequest(text=short))
        assert both.embeddings[1] == pytest.approx(single.embeddings[0], abs=1e-5)
        assert (both.model, both.dimensions, both.tokens) == ("all-MiniLM-L6-v2", 384, 12)
        assert (await service.generate(GenerateRequest(texts=[]))).embeddings == []

    asyncio.run(run())


def test_the_loop_stays_live_and_short_calls_get_a_turn(model: SentenceModel) -> None:
    async def run() -> None:
        service = Service(Config(), model)
        many = asyncio.create_task(service.generate(GenerateRequest(texts=["many words in a row " * 60] * 64)))
        await asyncio.sleep(0.05)
        worst = 0.0
        one = asyncio.create_task(service.generate(GenerateRequest(text="one")))
        while not one.done():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            worst = max(worst, time.monotonic() - before)
        assert not many.done(), "the short call waited for all of the long one"
        assert worst < 0.5
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many

    asyncio.run(run())
