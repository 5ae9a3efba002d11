"""Source code in the question, and how much of it."""

from __future__ import annotations

import re

from gateway.routing.conversation import Conversation
from gateway.routing.features.family import Family

# Indentation is taken possessively and within its line: work stays linear in blank text.
_CODE_LINE = re.compile(
    r"^[^\S\n]*+(?:def |class |import |from \w+ import|return\b|if .*:$|for .*:$|while .*:$|"
    r"#include|public |private |fn |func |function |const |let |var |SELECT |CREATE |INSERT |.*[;{}]\s*$)",
    re.MULTILINE,
)
_IDENTIFIER = re.compile(r"\b(?:[a-z]+_[a-z_]+|[a-z]+[A-Z][A-Za-z]+|\w+\(\))")
_TRACE = re.compile(
    r"Traceback|Exception|Error:|panicked|segfault|stack trace|^[^\S\n]++at \w|^[^\S\n]*+\nat \w",
    re.MULTILINE,
)


def _compute(conversation: Conversation) -> tuple[float, ...]:
    text = conversation.sample
    lines = text.count("\n") + 1
    code_lines = len(_CODE_LINE.findall(text)) if lines > 1 or ";" in text else 0
    return (
        float("```" in text),
        min(1.0, code_lines / lines),
        min(3.0, code_lines / 8),
        min(2.0, len(_IDENTIFIER.findall(text)) / 6),
        float(_TRACE.search(text) is not None),
    )


FAMILY = Family(
    "code", 1, ("is_fenced", "line_share", "lines", "identifiers", "has_trace"), _compute
)
