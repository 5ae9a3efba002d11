from __future__ import annotations

import random

import pytest

from benchmarks.trend import slope_of


def test_a_straight_line_has_its_own_slope() -> None:
    slope = slope_of(range(100), [3 + 0.5 * x for x in range(100)])
    assert (slope.value, slope.low, slope.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_interval_of_noise_holds_the_true_slope_about_95_times_in_100() -> None:
    chance = random.Random(7)
    held = 0
    for _ in range(400):
        slope = slope_of(range(60), [2 * x + chance.gauss(0, 10) for x in range(60)])
        held += slope.low <= 2 <= slope.high
    assert 0.92 <= held / 400 <= 0.98


def test_few_samples_have_a_wide_interval() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        slope_of([1, 2], [1, 2])
    # By hand: the slope is 1.5 / 17.5, its standard error (1.3714 / 4 / 17.5) ** 0.5, and Student's
    # t with 4 degrees of freedom is 2.776.
    slope = slope_of(range(6), [0, 1, 0, 1, 0, 1])
    assert slope.value == pytest.approx(1.5 / 17.5)
    assert slope.high - slope.value == pytest.approx(2.776 * (1.3714 / 4 / 17.5) ** 0.5, rel=0.005)
