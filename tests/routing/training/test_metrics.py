import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.training.metrics import (
    Scored,
    apgr,
    auroc,
    calibration_error,
    call_share_for,
    quality_curve,
)

PERFECT = [Scored(0.9, 0, 1), Scored(0.8, 0, 1), Scored(0.2, 1, 1), Scored(0.1, 1, 1)]


def test_a_perfect_order() -> None:
    assert apgr(PERFECT) == 0.75
    assert call_share_for(PERFECT, 0.5) == 0.25
    assert call_share_for(PERFECT, 1.0) == 0.5
    assert quality_curve(PERFECT) == [(0, 0.5), (0.25, 0.75), (0.5, 1), (0.75, 1), (1, 1)]


def test_a_constant_score_is_chance() -> None:
    assert apgr([Scored(0.5, one.small, one.large) for one in PERFECT]) == pytest.approx(0.5)


def test_without_a_gap_there_is_nothing_to_recover() -> None:
    assert math.isnan(apgr([Scored(0.1, 1, 1), Scored(0.2, 0, 0)]))


def test_auroc() -> None:
    assert auroc([0.9, 0.8, 0.1], [True, True, False]) == 1.0
    assert auroc([0.1, 0.9], [True, False]) == 0.0
    assert auroc([0.5, 0.5], [True, False]) == 0.5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_scores_that_are_the_outcomes_are_calibrated(scores: list[float]) -> None:
    assert calibration_error(scores, scores) == pytest.approx(0, abs=1e-9)


def test_calibration_error_is_the_distance() -> None:
    assert calibration_error([0.9, 0.9], [0.0, 0.0]) == pytest.approx(0.9)
