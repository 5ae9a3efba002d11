"""Questions that have one right answer: multiple choice, word problems, programs to be traced.

Length and numbers tell much about such problems and little about a chat, so they count apart here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from gateway.routing.conversation import Conversation
from gateway.routing.features.family import Family
from gateway.routing.patterns import has_digit

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NEGATED = re.compile(r"\b(?:NOT|EXCEPT|LEAST|FALSE|not true|incorrect)\b")
_STATEMENTS = re.compile(r"\bStatement \d|\bI{1,3}\b.{1,20}\bI{1,3}\b")
_SENTENCE_END = re.compile(r"[.!?。！？؟।](?=\s|$)|[。！？]")
_FRACTION = re.compile(r"\d\s*/\s*\d|%|٪|½|⅓|¼")
_WORD = re.compile(r"[^\W\d_]+")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_LONGEST_TOLD = 700

#: Where a difficulty may change along a quantity: a feature `quantity>step` is 1 beyond the step.
_CHOICE_STEPS: Mapping[str, Sequence[float]] = {
    "stem": (50, 90, 150, 250, 400, 800),
    "choice": (4, 12, 25, 45, 80),
    "stem_numbers": (0, 1, 3, 6),
    "stem_clauses": (0, 1, 3, 6),
    "stem_word_length": (4.2, 4.7, 5.2, 5.8),
    "choice_count": (4, 9),
}
_TOLD_STEPS: Mapping[str, Sequence[float]] = {
    "told": (100, 150, 200, 260, 340),
    "told_numbers": (2, 3, 4, 6),
    "told_sentences": (2, 3, 4, 5),
    "told_clauses": (0, 1, 2, 4),
}
_TRACED_STEPS: Mapping[str, Sequence[float]] = {
    "traced_lines": (7, 9, 12, 16),
    "traced_numbers": (1, 3, 6, 12),
    "traced": (320, 380, 450, 600),
}
_FORMULA_STEPS: Mapping[str, Sequence[float]] = {
    "formula": (80, 140, 220, 350),
    "formula_words": (8, 16, 30, 60),
    "formula_latex": (1, 4, 9, 18),
}


def _compute(conversation: Conversation) -> tuple[float, ...]:
    text = conversation.sample
    found = conversation.choices
    choice: Mapping[str, float] = {}
    told: Mapping[str, float] = {}
    traced: Mapping[str, float] = {}
    formula: Mapping[str, float] = {}
    if found:
        choice = _choice_quantities(text, found)
    elif conversation.is_traced:
        traced = {
            "traced": len(text),
            "traced_lines": text.count("\n"),
            "traced_numbers": len(_NUMBER.findall(text)),
        }
    elif "$" in text or "\\" in text:
        formula = {
            "formula": len(text),
            "formula_words": len(_WORD.findall(text)),
            "formula_latex": len(_COMMAND.findall(text)),
        }
    elif len(text) < _LONGEST_TOLD and "\n" not in text.strip():
        told = _told_quantities(text)
    if not (found or told or traced or formula):
        return _NOTHING
    return (
        *_flags(text, found),
        float(bool(told) and _FRACTION.search(text) is not None),
        *_steps(_CHOICE_STEPS, choice),
        *_steps(_TOLD_STEPS, told),
        *_steps(_TRACED_STEPS, traced),
        *_steps(_FORMULA_STEPS, formula),
    )


def _flags(text: str, choices: Sequence[re.Match[str]]) -> tuple[float, ...]:
    if not choices:
        return (0.0,) * 4
    stem = text[: choices[0].start()]
    numeric = sum(_NUMBER.search(choice.group(1)) is not None for choice in choices)
    return (
        numeric / len(choices),
        float(_NEGATED.search(stem) is not None),
        float(_STATEMENTS.search(text) is not None),
        float("__" in stem),
    )


def _choice_quantities(text: str, choices: Sequence[re.Match[str]]) -> Mapping[str, float]:
    stem = text[: choices[0].start()]
    words = _WORD.findall(stem)
    return {
        "stem": len(stem),
        "choice": sum(len(choice.group(1)) for choice in choices) / len(choices),
        "stem_numbers": len(_NUMBER.findall(stem)),
        "stem_clauses": stem.count(","),
        "stem_word_length": sum(map(len, words)) / len(words) if words else 0.0,
        "choice_count": len(choices),
    }


def _told_quantities(text: str) -> Mapping[str, float]:
    """A word problem has numbers and several sentences in one paragraph; else nothing."""
    numbers = len(_NUMBER.findall(text)) if has_digit(text) else 0
    if numbers < 2:
        return {}
    sentences = len(_SENTENCE_END.findall(text))
    if sentences < 2:
        return {}
    return {
        "told": len(text),
        "told_numbers": numbers,
        "told_sentences": sentences,
        "told_clauses": text.count(",") + text.count("、") + text.count("，") + text.count("،"),
    }


def _steps(
    steps: Mapping[str, Sequence[float]], quantities: Mapping[str, float]
) -> Iterator[float]:
    for name, thresholds in steps.items():
        quantity = quantities.get(name, -1.0)
        for threshold in thresholds:
            yield float(quantity > threshold)


def _step_names(steps: Mapping[str, Sequence[float]]) -> Iterator[str]:
    for name, thresholds in steps.items():
        yield from (f"{name}>{threshold:g}" for threshold in thresholds)


_FEATURES = (
    "numeric_choices",
    "is_negated",
    "has_statements",
    "has_blank",
    "told_fractions",
    *_step_names(_CHOICE_STEPS),
    *_step_names(_TOLD_STEPS),
    *_step_names(_TRACED_STEPS),
    *_step_names(_FORMULA_STEPS),
)
_NOTHING = (0.0,) * len(_FEATURES)

FAMILY = Family("problem", 1, _FEATURES, _compute, weighs_apart=False)
