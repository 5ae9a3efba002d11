"""How much is asked at once: constraints, steps, questions, and the form of the answer."""

from __future__ import annotations

import re

from gateway.routing.conversation import Conversation
from gateway.routing.features.family import Family
from gateway.routing.patterns import LinePattern, Pattern, ascii_sentences

_CLAUSE_ENDS = ",;:،，、；："
_SENTENCE = re.compile(r"[.!?。！？؟।](?:\s|$)|[。！？]")
_ITEM = LinePattern(r"[^\S\n]*+(?:[-*•]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s")
_INLINE_ITEM = Pattern(r"\((?:\d|[a-z]|i{1,3}|iv)\)", "(")
_CHOICE = LinePattern(r"\(?[A-J][.):]\s")
_FORMS = ("json", "csv", "yaml", "xml", "table", "表", "html")
_FORM = Pattern(r"\bjson\b|\bcsv\b|\byaml\b|\bxml\b|\btable\b|表|\bhtml\b", *_FORMS)
_LENGTH_ASKED = Pattern(
    r"\d{3,}[- ]?(?:words?|wörter|worten|mots|palabras|palavras|parole|слов|字|文字|자|كلمة|शब्द)",
    digits=True,
)


def _compute(conversation: Conversation) -> tuple[float, ...]:
    zone = conversation.zone
    choices = _CHOICE.count(conversation.sample)
    sentences = ascii_sentences(zone) if zone.isascii() else len(_SENTENCE.findall(zone))
    return (
        min(3.0, sum(map(zone.count, _CLAUSE_ENDS)) / 4),
        min(3.0, sentences / 4),
        min(3.0, (zone.count("?") + zone.count("？") + zone.count("؟")) / 2),
        min(3.0, (_ITEM.count(zone) + _INLINE_ITEM.count(zone)) / 3),
        float(choices >= 3),
        min(2.0, choices / 5),
        float(_FORM.found(zone)),
        float(_LENGTH_ASKED.found(zone)),
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
