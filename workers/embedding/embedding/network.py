"""A BERT encoder's forward pass in numpy: token ids to one vector per token.

Source: Devlin et al. 2018, with the post-layer normalisation and the exact GELU of the original.
Knows no texts and no files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .weights import Array

Tokens = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Linear:
    """``x @ weight.T + bias``."""

    def __init__(self, weight: Array, bias: Array) -> None:
        self._weight, self._bias = np.ascontiguousarray(weight.T), bias

    def __call__(self, x: Array) -> Array:
        y: Array = x @ self._weight
        y += self._bias
        return y


class Norm:
    """Layer normalisation over the last axis."""

    def __init__(self, weight: Array, bias: Array, epsilon: float) -> None:
        self._weight, self._bias, self._epsilon = weight, bias, np.float32(epsilon)

    def __call__(self, x: Array) -> Array:
        centred: Array = x - x.mean(axis=-1, keepdims=True)
        variance = np.einsum("...i,...i->...", centred, centred)[..., None] / np.float32(x.shape[-1])
        centred /= np.sqrt(variance + self._epsilon)
        centred *= self._weight
        centred += self._bias
        return centred


@dataclass
class Layer:
    query_key_value: Linear
    attended: Linear
    attended_norm: Norm
    wide: Linear
    narrow: Linear
    narrow_norm: Norm


class Encoder:
    """The network with its weights."""

    def __init__(self, tensors: dict[str, Array], layers: int, heads: int, epsilon: float) -> None:
        self._heads = heads
        self._words = tensors["embeddings.word_embeddings.weight"]
        # Every token is of the first segment, so its vector belongs to the position.
        segment = tensors["embeddings.token_type_embeddings.weight"][0]
        self._positions = tensors["embeddings.position_embeddings.weight"] + segment
        self._norm = _norm(tensors, "embeddings.LayerNorm", epsilon)
        self._layers = [_layer(tensors, f"encoder.layer.{index}", epsilon) for index in range(layers)]

    @property
    def dimensions(self) -> int:
        return int(self._words.shape[1])

    def __call__(self, tokens: Tokens, mask: Mask) -> Array:
        """Vectors of ``tokens`` (texts × length); where ``mask`` is false there is only padding."""
        x = self._norm(self._words[tokens] + self._positions[: tokens.shape[1]])
        penalty = np.where(mask, np.float32(0), np.float32(-1e9))[:, None, None, :]
        for layer in self._layers:
            x = layer.attended_norm(x + layer.attended(self._attend(layer.query_key_value(x), penalty)))
            x = layer.narrow_norm(x + layer.narrow(gelu(layer.wide(x))))
        return x

    def _attend(self, query_key_value: Array, penalty: Array) -> Array:
        texts, length, width = query_key_value.shape
        size = width // 3 // self._heads
        split = query_key_value.reshape(texts, length, 3, self._heads, size)
        query, key, value = split.transpose(2, 0, 3, 1, 4)
        scores = (query * np.float32(size**-0.5)) @ key.swapaxes(-1, -2)
        scores += penalty
        mixed: Array = softmax(scores) @ value
        return mixed.swapaxes(1, 2).reshape(texts, length, width // 3)


def softmax(x: Array) -> Array:
    """Along the last axis, in place."""
    x -= x.max(axis=-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=-1, keepdims=True)
    return x


def gelu(x: Array) -> Array:
    """``x * (1 + erf(x / √2)) / 2``, in place.

    The error function is formula 7.1.26 of Abramowitz and Stegun, whose error of 1.5e-7 is that of
    a 32-bit float.
    """
    z = np.abs(x) * np.float32(2**-0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = np.full_like(t, 1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series *= t
        series += np.float32(coefficient)
    series *= t
    np.multiply(z, -z, out=z)
    series *= np.exp(z, out=z)
    erf = np.copysign(1 - series, x)
    erf += 1
    x *= erf
    x *= np.float32(0.5)
    return x


def _linear(tensors: dict[str, Array], *names: str) -> Linear:
    """One linear map, or several side by side."""
    weights = [tensors[f"{name}.weight"] for name in names]
    return Linear(np.concatenate(weights), np.concatenate([tensors[f"{name}.bias"] for name in names]))


def _norm(tensors: dict[str, Array], name: str, epsilon: float) -> Norm:
    return Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"], epsilon)


def _layer(tensors: dict[str, Array], name: str, epsilon: float) -> Layer:
    own = f"{name}.attention.self"
    return Layer(
        query_key_value=_linear(tensors, f"{own}.query", f"{own}.key", f"{own}.value"),
        attended=_linear(tensors, f"{name}.attention.output.dense"),
        attended_norm=_norm(tensors, f"{name}.attention.output.LayerNorm", epsilon),
        wide=_linear(tensors, f"{name}.intermediate.dense"),
        narrow=_linear(tensors, f"{name}.output.dense"),
        narrow_norm=_norm(tensors, f"{name}.output.LayerNorm", epsilon),
    )
