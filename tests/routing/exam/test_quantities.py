"""Quantities of questions, one by name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.conversation import Conversation
from gateway.routing.exam.quantities import NAMES, quantities_of


def quantities(text: str) -> dict[str, float]:
    found = quantities_of(Conversation([{"role": "user", "content": text}]))
    return dict(zip(NAMES, found, strict=True))


def test_a_multiple_choice_question() -> None:
    found = quantities("Which is NOT even?\nA. 2\nB. 3\nC. four hundred\n")
    assert found["choices"] == 3
    assert found["numeric_choices"] == pytest.approx(2 / 3)
    assert (found["longest_choice"], found["shortest_choice"]) == (12, 1)
    assert found["is_negated"] == 1
    assert found["stem_characters"] == 19
    assert found["stem_words"] == 4


def test_a_word_problem() -> None:
    found = quantities("Tom has 1,200 stamps and 3.5 times more cards than stamps. How many each?")
    assert found["numbers"] == 2
    assert found["largest_number"] == 1200
    assert found["decimals"] == 1
    assert found["relations"] == 5
    assert found["choices"] == 0
    assert found["choice_spread"] == -1
    assert found["ends_with_question"] == 1


@given(st.text(max_size=300))
def test_every_text_has_finite_quantities(text: str) -> None:
    assert all(math.isfinite(value) for value in quantities(text).values())
