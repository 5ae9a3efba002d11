"""Where the score can be relied on: scripts, lengths and words like those that it learnt from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.routing.conversation import Conversation

#: Characters of the question whose script is looked at.
_LOOKED_AT = 400
_LETTER = re.compile(r"[^\W\d_]")
_SCRIPTS = {
    "latin": re.compile(r"[A-Za-z\u00aa-\u024f\u1e00-\u1eff]"),
    "cyrillic": re.compile(r"[\u0400-\u052f]"),
    "arabic": re.compile(r"[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff]"),
    "devanagari": re.compile(r"[\u0900-\u097f]"),
    "thai": re.compile(r"[\u0e00-\u0e7f]"),
    "cjk": re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"),
    "hangul": re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"),
    "greek": re.compile(r"[\u0370-\u03ff]"),
    "hebrew": re.compile(r"[\u0590-\u05ff]"),
}
OTHER = "other"
#: Fewer n-grams than this say nothing about novelty.
LEAST_GRAMS = 12


def script_of(text: str) -> str | None:
    """The script of most of the letters; None where there are none, `other` where unknown."""
    head = text[:_LOOKED_AT]
    if head.isascii():
        return "latin" if _LETTER.search(head) else None
    letters = len(_LETTER.findall(head))
    if not letters:
        return None
    counts = {name: len(script.findall(head)) for name, script in _SCRIPTS.items()}
    name = max(counts, key=counts.__getitem__)
    return name if 2 * counts[name] >= letters else OTHER


@dataclass(slots=True, frozen=True)
class Domain:
    """What the classifier has seen enough of.

    `least_known` is the share of a question's n-grams that has to be known, `longest` the most
    characters of a question.
    """

    scripts: Sequence[str]
    least_known: float
    longest: int

    @classmethod
    def of(cls, artefact: Mapping[str, Any]) -> Domain:
        """From `{"scripts": […], "least_known": …, "longest": …}`."""
        return cls(tuple(artefact["scripts"]), artefact["least_known"], artefact["longest"])

    def foreign(self, conversation: Conversation, grams: int, known: int) -> str | None:
        """`foreign_script`, `foreign_length`, `foreign_words`, or None where the score holds.

        `grams` is how many different n-grams the question has, `known` how many of them count.
        """
        question = conversation.question
        if len(question) > self.longest:
            return "foreign_length"
        script = script_of(question)
        if script is not None and script not in self.scripts:
            return "foreign_script"
        if grams >= LEAST_GRAMS and known < self.least_known * grams:
            return "foreign_words"
        return None
