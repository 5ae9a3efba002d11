"""The state of the conversation: a short follow-up inherits what came before."""

from __future__ import annotations

import math

from gateway.routing.conversation import Conversation
from gateway.routing.features.concepts import EASY, HARD
from gateway.routing.features.family import Family

_FOLLOW_UP_CHARACTERS = 100
_REDIRECTING = ("thanks", "greeting", "rewrite", "translate")


def _compute(conversation: Conversation) -> tuple[float, ...]:
    earlier = conversation.earlier_concepts
    earlier_hard = sum(earlier.get(concept, 0) for concept in HARD)
    earlier_easy = sum(earlier.get(concept, 0) for concept in EASY)
    is_follow_up = bool(earlier) and len(conversation.question) < _FOLLOW_UP_CHARACTERS
    redirects = any(conversation.concepts.get(concept) for concept in _REDIRECTING)
    inherits = is_follow_up and not redirects
    system = conversation.system
    return (
        min(2.0, math.log1p(conversation.length) / 2) if conversation.length > 1 else 0.0,
        min(2.0, earlier_hard / 3) if inherits else 0.0,
        min(2.0, earlier_easy / 3) if inherits else 0.0,
        float(is_follow_up and redirects),
        min(2.0, earlier_hard / 3) if earlier and not is_follow_up else 0.0,
        float(bool(system)),
        float("tool" in system or any(turn.role == "tool" for turn in conversation.turns)),
    )


FAMILY = Family(
    "dialogue",
    1,
    (
        "messages",
        "inherited_hard",
        "inherited_easy",
        "redirects",
        "earlier_hard",
        "has_system_prompt",
        "has_tools",
    ),
    _compute,
    weighs_apart=False,
)
