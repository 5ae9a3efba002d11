"""Source code in the question, and how much of it."""

from __future__ import annotations

import re

from gateway.routing.conversation import Conversation
from gateway.routing.features.family import Family
from gateway.routing.patterns import LinePattern, Pattern, has_hump

# Indentation is taken possessively and within its line: work stays linear in blank text.
_CODE_LINE = re.compile(
    r"^[^\S\n]*+(?:def |class |import |from \w+ import|return\b|if .*:$|for .*:$|while .*:$|"
    r"#include|public |private |fn |func |function |const |let |var |SELECT |CREATE |INSERT |"
    r".*[;{}]\s*$)",
    re.MULTILINE,
)
_IDENTIFIER = re.compile(r"\b(?:[a-z]+_[a-z_]+|[a-z]+[A-Z][A-Za-z]+|\w+\(\))")
_TRACE = Pattern(
    r"Traceback|Exception|Error:|panicked|segfault|stack trace",
    *("Traceback", "Exception", "Error:", "panicked", "segfault", "stack trace"),
)
_FRAME = LinePattern(r"[^\S\n]++at \w|^[^\S\n]*+\nat \w")


def _compute(conversation: Conversation) -> tuple[float, ...]:
    text = conversation.sample
    lines = text.count("\n") + 1
    code_lines = len(_CODE_LINE.findall(text)) if lines > 1 or ";" in text else 0
    return (
        float("```" in text),
        min(1.0, code_lines / lines),
        min(3.0, code_lines / 8),
        min(2.0, _identifiers(text) / 6),
        float(_TRACE.found(text) or _FRAME.count(text) > 0),
    )


def _identifiers(text: str) -> int:
    possible = "_" in text or "()" in text or has_hump(text)
    return len(_IDENTIFIER.findall(text)) if possible else 0


FAMILY = Family(
    "code", 1, ("is_fenced", "line_share", "lines", "identifiers", "has_trace"), _compute
)
