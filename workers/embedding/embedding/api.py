"""``embedding::*``: the shapes that others see. The Rust side has them in ``workers/contract``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

GENERATE = "embedding::generate"


@dataclass
class GenerateRequest:
    texts: Annotated[list[str] | None, "sentences or short paragraphs; one vector each"] = None
    text: Annotated[str | None, "a single one, instead of `texts`"] = None


@dataclass
class Embeddings:
    """One vector of length 1 per text, in order: the dot product of two is their cosine."""

    embeddings: list[list[float]]
    #: Vectors of different models cannot be compared.
    model: str
    dimensions: int
    #: Tokens read; what is beyond the model's window is not.
    tokens: int
