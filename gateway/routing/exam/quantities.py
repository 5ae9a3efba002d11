"""Plain quantities of a question, in their natural units: what the forest's trees split on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.routing.conversation import Conversation

#: Rises when a computation changes: a forest fits one version only.
VERSION = 1

NAMES = (
    "characters",
    "stem_characters",
    "stem_words",
    "word_length",
    "longest_word",
    "numbers",
    "largest_number",
    "decimals",
    "upper_share",
    "digit_share",
    "symbol_share",
    "commas",
    "question_marks",
    "lines",
    "sentences",
    "choices",
    "choice_characters",
    "longest_choice",
    "shortest_choice",
    "choice_spread",
    "numeric_choices",
    "commands",
    "dollars",
    "brackets",
    "equals",
    "powers",
    "different_words",
    "long_words",
    "capitalised_words",
    "indents",
    "percents",
    "quotes",
    "relations",
    "measures",
    "ends_with_question",
    "has_blank",
    "is_negated",
)

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_PLAIN_NUMBER = re.compile(r"\d{1,15}(?:,\d{3})*(?:\.\d+)?")
_WORD = re.compile(r"[^\W\d_]+")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？؟।]")
_NEGATION = re.compile(r"\b(?:NOT|EXCEPT|LEAST|FALSE)\b")
_SYMBOL = re.compile(r"[^\w\s]|_")
_UPPER = re.compile(r"[A-Z]")
_DIGIT = re.compile(r"\d")
_RELATIONS = re.compile(
    r"\b(?:if|then|how|each|per|than|more|less|half|twice|times|total|every|left|remaining)\b"
)
_MEASURES = re.compile(
    r"\b(?:percent|percentage|fraction|ratio|average|hours|minutes|days|weeks?|month|years?)\b"
)


def quantities_of(conversation: Conversation) -> list[float]:
    """The value of every quantity, in the order of `NAMES`; -1 where there is no choice."""
    text = conversation.sample
    choices = [match.group(1) for match in conversation.choices]
    stem = text[: conversation.choices[0].start()] if choices else text
    size = len(text) or 1
    numbers = _NUMBER.findall(stem)
    return [
        len(text),
        len(stem),
        *_word_quantities(stem),
        len(numbers),
        max(map(_number, numbers), default=0.0),
        sum("." in number for number in numbers),
        len(_UPPER.findall(text)) / size,
        len(_DIGIT.findall(text)) / size,
        len(_SYMBOL.findall(text)) / size,
        text.count(","),
        text.count("?"),
        text.count("\n"),
        len(_SENTENCE_END.findall(stem)),
        *_choice_quantities(choices),
        *(stem.count(sign) for sign in "\\$(=^"),
        *_vocabulary_quantities(stem),
        text.count("    "),
        text.count("%"),
        text.count("'") + text.count('"'),
        *_term_quantities(stem),
        float(stem.rstrip().endswith("?")),
        float("__" in stem or "..." in stem),
        float(_NEGATION.search(stem) is not None),
    ]


def _number(text: str) -> float:
    return float(text.replace(",", "")) if _PLAIN_NUMBER.fullmatch(text) else 0.0


def _word_quantities(stem: str) -> tuple[float, float, float]:
    lengths = [len(word) for word in _WORD.findall(stem)]
    if not lengths:
        return 0, 0.0, 0
    return len(lengths), sum(lengths) / len(lengths), max(lengths)


def _choice_quantities(choices: Sequence[str]) -> tuple[float, ...]:
    if not choices:
        return (0, -1, -1, -1, -1, -1)
    sizes = [len(choice) for choice in choices]
    numeric = sum(_NUMBER.search(choice) is not None for choice in choices)
    mean = sum(sizes) / len(sizes)
    spread = max(sizes) - min(sizes)
    return (len(sizes), mean, max(sizes), min(sizes), spread, numeric / len(sizes))


def _vocabulary_quantities(stem: str) -> tuple[float, float, float]:
    words = _WORD.findall(stem)
    if not words:
        return 0.0, 0.0, 0.0
    count = len(words)
    return (
        len({word.lower() for word in words}) / count,
        sum(len(word) >= 9 for word in words) / count,
        sum(word[0].isupper() for word in words) / count,
    )


def _term_quantities(stem: str) -> tuple[float, float]:
    lowered = stem.lower()
    return len(_RELATIONS.findall(lowered)), len(_MEASURES.findall(lowered))
