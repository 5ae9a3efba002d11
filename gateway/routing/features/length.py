"""How much text there is: a weak sign, kept apart so that it can't hide in other features."""

from __future__ import annotations

import math

from gateway.routing.conversation import ZONE, Conversation
from gateway.routing.features.family import Family


def _compute(conversation: Conversation) -> tuple[float, ...]:
    size = len(conversation.question)
    words = conversation.zone_words
    letters = sum(map(len, words))
    return (
        math.log1p(size) / 4,
        float(size < 30),
        float(size > 2 * ZONE),
        min(2.0, letters / len(words) / 6) if words else 0.0,
        sum(len(word) >= 10 for word in words) / len(words) if words else 0.0,
    )


FAMILY = Family(
    "length",
    1,
    ("log_characters", "is_short", "is_long", "word_length", "long_word_share"),
    _compute,
)
