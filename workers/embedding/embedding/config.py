"""The worker's settings and their bounds."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Config:
    #: Texts in one call. More would keep others waiting, and the answer near a megabyte.
    texts_max: int = 256
    #: Characters of one text; the model reads the first 256 tokens, about 1000 characters.
    text_chars_max: int = 100_000
    #: Characters of all texts of a call.
    texts_chars_max: int = 2_000_000
    #: Tokens of one batch, padding included: about 0.2 s of one core, after which others get a turn.
    batch_tokens_max: int = 512
    #: Batches computed at a time. The work is meant to be in the background.
    threads: int = field(default_factory=lambda: min(4, os.cpu_count() or 1))
