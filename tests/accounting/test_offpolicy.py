"""Quality by inverse propensity weighting: exact weights, honest gaps, intervals that cover."""

from random import Random

import pytest

from gateway.accounting.offpolicy import MIN_FEEDBACKS, RatedAnswer, qualities


def answers(rank: int, *, large: bool, propensity: float, marks: list[float]) -> list[RatedAnswer]:
    return [RatedAnswer(rank, large, propensity, mark) for mark in marks]


def test_rare_choices_count_for_those_that_they_stand_for() -> None:
    """At the one threshold rank 1 goes large: 30 did, of which 10 by a chance of 1 in 4."""
    rated = [
        *answers(1, large=True, propensity=1.0, marks=[1.0] * 20),
        *answers(1, large=True, propensity=0.25, marks=[0.5] * 10),
        *answers(1, large=False, propensity=0.75, marks=[0.0] * 50),
    ]
    (quality,) = qualities(rated, 1)
    assert quality is not None
    assert quality.mean == pytest.approx((20 * 1 + 10 * 4 * 0.5) / (20 + 10 * 4))
    assert quality.feedbacks == 30
    assert 0.5 < quality.low < quality.mean < quality.high < 1


def test_each_threshold_uses_the_answers_that_it_would_leave_in_place() -> None:
    rated = [
        *answers(0, large=False, propensity=1.0, marks=[0.0] * 20),
        *answers(1, large=True, propensity=1.0, marks=[0.25] * 20),
        *answers(2, large=True, propensity=1.0, marks=[1.0] * 20),
    ]
    first, second = qualities(rated, 2)
    assert first is not None
    assert second is not None
    # The first sends ranks 1 and 2 to the large tier, the second rank 2 alone.
    assert first.mean == pytest.approx(1.25 / 3)
    assert first.feedbacks == 60
    assert (second.mean, second.feedbacks) == (0.5, 40)


def test_too_few_matching_answers_give_no_quality() -> None:
    enough = answers(1, large=True, propensity=1.0, marks=[1.0] * MIN_FEEDBACKS)
    assert qualities(enough, 1)[0] is not None
    elsewhere = answers(1, large=False, propensity=1.0, marks=[1.0] * 100)
    assert qualities(enough[1:] + elsewhere, 1) == [None]
    assert qualities([], 3) == [None] * 3


def test_the_same_answers_give_the_same_interval() -> None:
    rated = answers(1, large=True, propensity=1.0, marks=[0.0, 1.0] * 30)
    assert qualities(rated, 1) == qualities(rated, 1)
    assert qualities(rated, 1) != qualities(rated, 1, seed=1)


def test_with_exploration_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """The small tier is right with 0.4, the large with 0.8; one request in five is explored."""
    random = Random(7)
    covered = 0
    for _ in range(60):
        rated = []
        for _ in range(300):
            wants_large, explored = random.random() < 0.5, random.random() < 0.2
            large = wants_large ^ explored
            mark = float(random.random() < (0.8 if large else 0.4))
            propensity = 0.2 if explored else 0.8
            # Rank 1 of 2: large at the first threshold, small at the second.
            rank = 2 if wants_large else 1
            rated.append(RatedAnswer(rank, large, propensity, mark))
        all_large, _ = qualities(rated, 2)
        assert all_large is not None
        covered += all_large.low <= 0.8 <= all_large.high
    assert covered >= 52
