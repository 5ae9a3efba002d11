"""Questions that have one right answer: multiple choice, word problems, programs to be traced.

Length and numbers tell much about such problems and little about a chat, so they count apart here.
"""

from __future__ import annotations

import math
import re

from gateway.routing.conversation import Conversation
from gateway.routing.features.family import Family

_CHOICE = re.compile(r"^\(?[A-J][.):]\s*(.*)$", re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NEGATED = re.compile(r"\b(?:NOT|EXCEPT|LEAST|FALSE|not true|incorrect)\b")
_STATEMENTS = re.compile(r"\bStatement \d|\bI{1,3}\b.{1,20}\bI{1,3}\b")
_SENTENCE_END = re.compile(r"[.!?。！？؟।](?=\s|$)|[。！？]")
_FRACTION = re.compile(r"\d\s*/\s*\d|%|٪|½|⅓|¼")
_LEAST_CHOICES = 3


def _compute(conversation: Conversation) -> tuple[float, ...]:
    text = conversation.sample
    found = list(_CHOICE.finditer(text))
    if len(found) < _LEAST_CHOICES:
        return (*(0.0,) * 6, *_open_problem(text))
    stem = text[: found[0].start()]
    choices = [match.group(1) for match in found]
    numeric = sum(_NUMBER.search(choice) is not None for choice in choices)
    return (
        math.log1p(len(stem)) / 4,
        math.log1p(sum(map(len, choices)) / len(choices)) / 3,
        numeric / len(choices),
        float(_NEGATED.search(stem) is not None),
        float(_STATEMENTS.search(text) is not None),
        float("__" in stem),
        *(0.0,) * 6,
    )


def _open_problem(text: str) -> tuple[float, ...]:
    numbers = _NUMBER.findall(text)
    sentences = len(_SENTENCE_END.findall(text))
    is_traced = "assert " in text or ">>>" in text
    is_told = len(numbers) >= 2 and sentences >= 2 and not is_traced
    return (
        float(is_told),
        math.log1p(len(text)) / 4 if is_told else 0.0,
        math.log1p(len(numbers)) if is_told else 0.0,
        float(is_told and _FRACTION.search(text) is not None),
        float(is_traced),
        math.log1p(text.count("\n")) / 2 if is_traced else 0.0,
    )


FAMILY = Family(
    "problem",
    1,
    (
        "stem_log_characters",
        "choice_log_characters",
        "numeric_choices",
        "is_negated",
        "has_statements",
        "has_blank",
        "is_told",
        "told_log_characters",
        "told_log_numbers",
        "told_fractions",
        "is_traced",
        "traced_log_lines",
    ),
    _compute,
)
