"""How much is asked at once: constraints, steps, questions, and the form of the answer."""

from __future__ import annotations

import re

from gateway.routing.conversation import Conversation
from gateway.routing.features.family import Family

_CLAUSE = re.compile(r"[,;:،，、；：]")
_SENTENCE = re.compile(r"[.!?。！？؟।](?:\s|$)|[。！？]")
_ITEM = re.compile(r"^[^\S\n]*+(?:[-*•]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s", re.MULTILINE)
_INLINE_ITEM = re.compile(r"\((?:\d|[a-z]|i{1,3}|iv)\)")
_CHOICE = re.compile(r"^\(?[A-J][.):]\s", re.MULTILINE)
_FORM = re.compile(r"\bjson\b|\bcsv\b|\byaml\b|\bxml\b|\btable\b|表|\bhtml\b")
_LENGTH_ASKED = re.compile(
    r"\d{3,}[- ]?(?:words?|wörter|worten|mots|palabras|palavras|parole|слов|字|文字|자|كلمة|शब्द)"
)


def _compute(conversation: Conversation) -> tuple[float, ...]:
    zone = conversation.zone
    choices = len(_CHOICE.findall(conversation.sample))
    return (
        min(3.0, len(_CLAUSE.findall(zone)) / 4),
        min(3.0, len(_SENTENCE.findall(zone)) / 4),
        min(3.0, (zone.count("?") + zone.count("？") + zone.count("؟")) / 2),
        min(3.0, (len(_ITEM.findall(zone)) + len(_INLINE_ITEM.findall(zone))) / 3),
        float(choices >= 3),
        min(2.0, choices / 5),
        float(_FORM.search(zone) is not None),
        float(_LENGTH_ASKED.search(zone) is not None),
        float(zone.rstrip().endswith(("answer:", "[/python]"))),
    )


FAMILY = Family(
    "demands",
    1,
    (
        "clauses",
        "sentences",
        "questions",
        "items",
        "is_multiple_choice",
        "choices",
        "asks_for_form",
        "asks_for_length",
        "is_exam",
    ),
    _compute,
)
