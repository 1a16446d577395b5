"""A sentence model: texts to vectors of length 1.

Tokens, the network, the mean over a text's tokens, normalisation: what ``sentence-transformers``
does for this model, without torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from . import weights
from .network import Encoder, Mask
from .weights import Array


@dataclass(frozen=True)
class Batch:
    """Texts of similar length, to be embedded together."""

    #: Where their vectors go.
    rows: list[int]
    tokens: list[list[int]]


class SentenceModel:
    """A model in a folder as ``sentence-transformers`` lays it out."""

    def __init__(self, folder: Path, name: str) -> None:
        config = json.loads((folder / "config.json").read_text())
        window = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        self.name = name
        self._padding: int = config["pad_token_id"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(window)
        self._encoder = Encoder(
            weights.read(folder / "model.safetensors"),
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            epsilon=config["layer_norm_eps"],
        )

    @property
    def dimensions(self) -> int:
        return self._encoder.dimensions

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """The tokens of each text, cut at the model's window."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]

    def embed(self, batch: Batch) -> Array:
        """One vector of length 1 per text of ``batch``."""
        length = max(map(len, batch.tokens))
        tokens = np.full((len(batch.tokens), length), self._padding, dtype=np.int64)
        mask = np.zeros(tokens.shape, dtype=np.bool_)
        for row, ids in enumerate(batch.tokens):
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = True
        return _normalised(_mean(self._encoder(tokens, mask), mask))


def batches(tokens: list[list[int]], tokens_max: int) -> Iterator[Batch]:
    """Groups texts by length, so that little is padding; each has ``tokens_max`` tokens at most.

    A text that is longer by itself is a batch of its own.
    """
    rows: list[int] = []
    for row in sorted(range(len(tokens)), key=lambda row: len(tokens[row])):
        if rows and (len(rows) + 1) * len(tokens[row]) > tokens_max:
            yield Batch(rows, [tokens[row] for row in rows])
            rows = []
        rows.append(row)
    if rows:
        yield Batch(rows, [tokens[row] for row in rows])


def _mean(vectors: Array, mask: Mask) -> Array:
    counted = mask.astype(np.float32)
    total: Array = np.einsum("tld,tl->td", vectors, counted)
    mean: Array = total / counted.sum(axis=1, keepdims=True)
    return mean


def _normalised(vectors: Array) -> Array:
    unit: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
