"""No text costs much more time than another of its size: the patterns are linear in all of them."""

import time

import pytest

from gateway.routing.classifier import load_scorer

SCORER = load_scorer()
SHAPES = {
    "letter": "x",
    "space": " ",
    "line": "\n",
    "blank lines": "\n ",
    "tab": "\t",
    "carriage return": "\r",
    "quotation mark": '"',
    "opening quotation mark": "“",
    "guillemet": "«",
    "bracket": "「",
    "backslash": "\\",
    "command": "\\a",
    "dollar": "$",
    "formula": "$a",
    "digit": "1",
    "number": "1,",
    "numbers": "1 1 ",
    "sentence": ". ",
    "question": "?",
    "call": "a(",
    "brackets": "() ",
    "underscore": "a_",
    "capitals": "aA",
    "roman": "I ",
    "item": "- \n",
    "choice": "A. x\n",
    "prompt": ">>> ",
    "fence": "```\n",
    "braces": "{;}",
    "equation": "a=",
    "cjk": "東",
    "thai": "ก",
    "arabic": "ال",
    "emoji": "🗼",
    "combining": "e\u0301",
    "ligature": "ﷺ",
}
#: With a pattern that is quadratic in blank lines it was 0.4 s.
MOST_S = 0.15


@pytest.mark.parametrize("size", [700, 1_400, 2_700, 300_000])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_time_for_a_text_is_bounded(shape: str, size: int) -> None:
    text = (shape * size)[:size]
    for question in (text, f'"{text}?'):
        times_s = []
        for _ in range(3):  # the least: the machine may be busy
            started_s = time.thread_time()
            SCORER.assess([{"role": "user", "content": question}])
            times_s.append(time.thread_time() - started_s)
        assert min(times_s) < MOST_S
