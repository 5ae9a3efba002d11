"""Every family of features, also those to come, keeps the same promises."""

import math
from typing import Any

import pytest

from gateway.routing.conversation import Conversation
from gateway.routing.features import families, feature_names, feature_values
from gateway.routing.features.family import Family

TEXTS = [
    "",
    "Hello!",
    "Prove that ∑ 1/n² = π²/6 for $x \\in \\mathbb{R}$.",
    "```python\ndef f(x):\n    return x\n```\nTraceback (most recent call last):",
    "证明存在无穷多个素数。" * 50,
    "A. one\nB. two\nC. three\nAnswer:",
    "a" * 100_000,
    "\x00\ud7ff🗼" * 99,
]


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_values_are_finite_bounded_and_complete(family: Family, text: str) -> None:
    histories: list[list[dict[str, Any]]] = [
        [{"role": "user", "content": text}],
        [
            {"role": "system", "content": text},
            {"role": "user", "content": "Prove it."},
            {"role": "assistant", "content": text},
            {"role": "user", "content": text},
        ],
        [],
    ]
    for history in histories:
        values = family.compute(Conversation(history))
        assert len(values) == len(family.features)
        assert all(isinstance(v, float) and math.isfinite(v) and -10 < v < 10 for v in values)


def test_names_are_unique_and_in_the_order_of_the_values() -> None:
    names = feature_names()
    assert len(set(names)) == len(names)
    assert len(feature_values(Conversation([{"role": "user", "content": "x"}]))) == len(names)


def test_only_windows_of_a_long_text_are_read() -> None:
    long = "Summarize: " + "filler words here " * 5000
    middle = long[:40_000] + "Prove the theorem of Gödel" + long[40_000:]
    values = [
        feature_values(Conversation([{"role": "user", "content": t}])) for t in (long, middle)
    ]
    assert values[0] == pytest.approx(values[1], abs=0.01)
