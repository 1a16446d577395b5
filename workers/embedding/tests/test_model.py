"""The network against numbers that `sentence-transformers` computed with torch, and its sense."""

from __future__ import annotations

import numpy as np
import pytest
from embedding.model import SentenceModel, batches
from embedding.network import gelu

# sentence-transformers 5 on torch 2, `encode(text, normalize_embeddings=True)[:4]`.
REFERENCE = [
    ("This is an example sentence", [0.067657, 0.063496, 0.048713, 0.079305]),
    ("Each sentence is converted", [0.086439, 0.102763, 0.005395, 0.002044]),
    ("Привет, мир! 你好 🙂", [0.01302, 0.048011, 0.056977, 0.010883]),
    ("", [-0.118838, 0.048299, -0.002548, -0.011011]),
    # Longer than the window of 256 tokens.
    ("a " * 1000, [-0.014423, -0.047102, 0.02383, -0.082849]),
]


def embed(model: SentenceModel, texts: list[str], tokens_max: int = 2048) -> np.ndarray:
    tokens = model.tokenize(texts)
    vectors = np.zeros((len(texts), model.dimensions), dtype=np.float32)
    for batch in batches(tokens, tokens_max):
        vectors[batch.rows] = model.embed(batch)
    return vectors


@pytest.mark.parametrize("tokens_max", [1, 64, 2048])
def test_agrees_with_torch_whatever_the_batch(model: SentenceModel, tokens_max: int) -> None:
    vectors = embed(model, [text for text, _ in REFERENCE], tokens_max)
    assert vectors.shape == (5, 384)
    np.testing.assert_allclose(vectors[:, :4], [start for _, start in REFERENCE], atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_close_meanings_are_close(model: SentenceModel) -> None:
    question, answer, other = embed(
        model,
        ["How do I reset my password?", "Steps to recover access to your account", "The soup needs more salt"],
    )
    assert question @ answer > 0.4 > 0.1 > question @ other


def test_batches_hold_every_text_once_within_the_bound() -> None:
    tokens = [[0] * length for length in (3, 9, 1, 30, 3, 2)]
    made = list(batches(tokens, 12))
    assert sorted(row for batch in made for row in batch.rows) == list(range(6))
    for batch in made:
        assert len(batch.rows) == 1 or len(batch.rows) * max(map(len, batch.tokens)) <= 12
    assert list(batches([], 12)) == []


def test_gelu_is_exact_to_single_precision() -> None:
    from math import erf

    x = np.linspace(-6, 6, 997, dtype=np.float32)
    exact = [value * (1 + erf(value / 2**0.5)) / 2 for value in x.tolist()]
    np.testing.assert_allclose(gelu(x.copy()), exact, atol=1e-6)
