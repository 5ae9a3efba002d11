"""Mathematical notation: symbols, LaTeX, equations, numbers."""

from __future__ import annotations

import re

from gateway.routing.conversation import Conversation
from gateway.routing.features.family import Family
from gateway.routing.patterns import Pattern

_SYMBOLS = "∑∏∫√≡≤≥≠≈∈∉⊂⊆∪∩∀∃∞∂∇→⇒⇔λμσπθφεδαβγΩΣℝℤℕℚℂ²³ⁿ"
_LATEX = Pattern(r"\\[a-zA-Z]+|\$[^$\n]{1,80}\$", "\\", "$")
_EQUATION = Pattern(
    r"[A-Za-z0-9)\]]\s*[=<>^]\s*[-A-Za-z0-9(\[]|\b[a-z]\([a-z0-9]\)|\bO\(", *"=<>^("
)
_NUMBER = Pattern(r"\d+(?:[.,]\d+)?", digits=True)
_VARIABLE = re.compile(r"(?<![\w'’])[b-hj-np-zB-HJ-Z](?![\w'’.])")

#: By ASCII code: `v` a letter that names variables, `w` any other part of a word, `.`, or a space.
_KINDS = bytes(
    ord("v" if _VARIABLE.match(char) else "w" if char.isalnum() or char in "_'" else char)
    if char.isalnum() or char in "_'."
    else ord(" ")
    for char in map(chr, range(256))
)


def _compute(conversation: Conversation) -> tuple[float, ...]:
    text = conversation.sample
    numbers = _NUMBER.count(text)
    words = max(1, len(text.split()))
    return (
        min(3.0, _symbols(text) / 2),
        min(3.0, _LATEX.count(text) / 3),
        min(3.0, _EQUATION.count(text) / 2),
        min(3.0, numbers / 5),
        min(1.0, numbers / words),
        min(3.0, _variables(text) / 3),
    )


def _symbols(text: str) -> int:
    return 0 if text.isascii() else sum(map(text.count, _SYMBOLS))


def _variables(text: str) -> int:
    """Matches of `_VARIABLE`; those of an ASCII text by translating it, which is ten times as fast.

    A letter alone is a variable between what is no part of a word; a full stop may only go before.
    """
    if not text.isascii():
        return len(_VARIABLE.findall(text))
    kinds = text.encode().translate(_KINDS) + b" "
    return kinds.split(b" ").count(b"v") + kinds.count(b".v ")


FAMILY = Family(
    "notation",
    1,
    ("symbols", "latex", "equations", "numbers", "number_share", "variables"),
    _compute,
)
