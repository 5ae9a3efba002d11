"""Mathematical notation: symbols, LaTeX, equations, numbers."""

from __future__ import annotations

import re

from gateway.routing.conversation import Conversation
from gateway.routing.features.family import Family

_SYMBOL = re.compile(r"[∑∏∫√≡≤≥≠≈∈∉⊂⊆∪∩∀∃∞∂∇→⇒⇔λμσπθφεδαβγΩΣℝℤℕℚℂ²³ⁿ]")
_LATEX = re.compile(r"\\[a-zA-Z]+|\$[^$\n]{1,80}\$")
_EQUATION = re.compile(r"[A-Za-z0-9)\]]\s*[=<>^]\s*[-A-Za-z0-9(\[]|\b[a-z]\([a-z0-9]\)|\bO\(")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_VARIABLE = re.compile(r"(?<![\w'’])[b-hj-np-zB-HJ-Z](?![\w'’.])")


def _compute(conversation: Conversation) -> tuple[float, ...]:
    text = conversation.sample
    numbers = len(_NUMBER.findall(text))
    words = max(1, len(text.split()))
    return (
        min(3.0, len(_SYMBOL.findall(text)) / 2),
        min(3.0, len(_LATEX.findall(text)) / 3),
        min(3.0, len(_EQUATION.findall(text)) / 2),
        min(3.0, numbers / 5),
        min(1.0, numbers / words),
        min(3.0, len(_VARIABLE.findall(text)) / 3),
    )


FAMILY = Family(
    "notation",
    1,
    ("symbols", "latex", "equations", "numbers", "number_share", "variables"),
    _compute,
)
