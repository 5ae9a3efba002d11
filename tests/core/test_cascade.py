import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.cascade import Cascade


def test_confidence_is_the_geometric_mean_of_the_first_tokens() -> None:
    logprobs = [math.log(0.9), math.log(0.4), math.log(0.01)]
    assert Cascade(2, 0.5).confidence(logprobs) == pytest.approx(0.6)
    assert Cascade(2, 0.5).confidence(logprobs[:1]) == pytest.approx(0.9)


def test_no_tokens_no_confidence() -> None:
    assert Cascade(2, 1.0).confidence([]) is None
    assert Cascade(2, 1.0).commits(None)


@given(st.lists(st.floats(-9999, 1e-6), min_size=1), st.integers(1, 30))
def test_confidence_is_a_probability(logprobs: list[float], hold_tokens: int) -> None:
    confidence = Cascade(hold_tokens, 0.5).confidence(logprobs)
    assert confidence is not None
    assert 0 <= confidence <= 1
    assert Cascade(hold_tokens, confidence).commits(confidence)
