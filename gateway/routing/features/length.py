"""How much text there is: a weak sign, kept apart so that it can't hide in other features."""

from __future__ import annotations

import math
import re

from gateway.routing.conversation import ZONE, Conversation
from gateway.routing.features.family import Family

_LONG_WORD = 10
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def _compute(conversation: Conversation) -> tuple[float, ...]:
    size = len(conversation.question)
    asked = conversation.instruction
    words = conversation.zone_words
    sizes = list(map(len, words))
    return (
        math.log1p(size) / 4,
        math.log1p(_units(asked)) / 4,
        max(0.0, math.log((size + 50) / (len(asked) + 50))),
        float(size < 30),
        float(size > 2 * ZONE),
        min(2.0, sum(sizes) / len(words) / 6) if words else 0.0,
        sum(map(_LONG_WORD.__le__, sizes)) / len(words) if words else 0.0,
    )


def _units(text: str) -> int:
    """Characters, where a Chinese, Japanese or Korean one counts for three letters."""
    return len(text) if text.isascii() else len(text) + 2 * len(_DENSE.findall(text))


FAMILY = Family(
    "length",
    1,
    (
        "log_characters",
        "instruction",
        "pasted",
        "is_short",
        "is_long",
        "word_length",
        "long_word_share",
    ),
    _compute,
)
