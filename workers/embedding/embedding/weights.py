"""Reads a ``safetensors`` file: a length, a JSON header, then the numbers.

Format: <https://huggingface.co/docs/safetensors>. The numbers stay in the file and are paged in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def read(path: Path) -> dict[str, Array]:
    """The file's tensors by name, as read-only views of the file.

    :raises ValueError: when a tensor is not of 32-bit floats.
    """
    data = np.memmap(path, dtype=np.uint8, mode="r")
    length = int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    body = data[8 + length :]
    return {name: _tensor(name, about, body) for name, about in header.items() if about["dtype"] != "I64"}


def _tensor(name: str, about: dict[str, Any], body: NDArray[np.uint8]) -> Array:
    if about["dtype"] != "F32":
        raise ValueError(f"{name} is {about['dtype']}, not F32")
    start, end = about["data_offsets"]
    tensor: Array = np.frombuffer(body[start:end], dtype="<f4").reshape(about["shape"])
    return tensor
