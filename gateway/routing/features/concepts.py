"""What the question is about and what it wants done, in 16 languages by one lexicon."""

from __future__ import annotations

from gateway.routing.conversation import Conversation
from gateway.routing.features.family import Family

HARD = (
    "proof",
    "mathematics",
    "algorithm",
    "engineering",
    "clinical",
    "legal_finance",
    "analysis",
    "puzzle",
    "constraint",
)
EASY = ("greeting", "thanks", "rewrite", "translate", "extract", "everyday")


def _compute(conversation: Conversation) -> tuple[float, ...]:
    counts = conversation.concepts
    hard = [counts.get(concept, 0) for concept in HARD]
    easy = [counts.get(concept, 0) for concept in EASY]
    hard_kinds = sum(count > 0 for count in hard)
    easy_kinds = sum(count > 0 for count in easy)
    words = max(1, len(conversation.instruction_words))
    return (
        *(min(3.0, float(count)) for count in hard),
        *(min(2.0, float(count)) for count in easy),
        min(3.0, sum(hard) / 2),
        min(1.0, sum(hard) / words),
        float(easy_kinds > 0 and hard_kinds == 0),
        float(hard_kinds > 0 and easy_kinds == 0),
        float(hard_kinds >= 3),
        float(hard_kinds == 0 and easy_kinds == 0),
    )


FAMILY = Family(
    "concepts",
    1,
    (
        *HARD,
        *EASY,
        "hard_terms",
        "hard_density",
        "only_easy",
        "only_hard",
        "many_hard_kinds",
        "none",
    ),
    _compute,
)
