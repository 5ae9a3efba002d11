"""Solved thresholds keep what they promise, and refuse to promise on too little."""

import random

import pytest

from gateway.routing.solving import (
    Priced,
    Sample,
    TooFewData,
    quality_kept,
    solve_confidence,
    solve_quality,
    solve_share,
    solve_spend,
)


def traffic(count: int, seed: int) -> list[Sample]:
    """The small tier fails with a probability of the score, the large one in 1 of 10."""
    chance = random.Random(seed)
    samples = []
    for _ in range(count):
        score = chance.random()
        small = float(chance.random() > score)
        samples.append(Sample(score, small, float(chance.random() > 0.1)))
    return samples


def test_the_promise_holds_on_fresh_samples_as_often_as_stated() -> None:
    fresh = traffic(100_000, 0)
    solved = [solve_quality(traffic(600, seed), 0.95, 0.9) for seed in range(1, 201)]
    held = sum(quality_kept(fresh, one.threshold) >= 0.95 for one in solved)
    assert held / 200 >= 0.86  # 0.9 less what 200 draws are off by (2 sigma)
    assert any(one.threshold > 0.2 for one in solved), "it isn't simply all large"


def test_a_promise_by_inverse_propensities_holds_too() -> None:
    """One outcome a request is known: of the tier that was taken with that probability."""
    fresh = traffic(100_000, 0)
    held = 0
    for seed in range(1, 101):
        chance = random.Random(seed)
        seen = []
        for one in traffic(3_000, seed):
            propensity = 0.8 if one.score >= 0.5 else 0.2  # of the large tier
            if chance.random() < propensity:
                seen.append(Sample(one.score, 0.0, one.large / propensity))
            else:
                seen.append(Sample(one.score, one.small / (1 - propensity), 0.0))
        held += quality_kept(fresh, solve_quality(seen, 0.9, 0.9).threshold) >= 0.9
    assert held >= 84


def test_a_few_heavily_weighted_outcomes_promise_nothing() -> None:
    """At an exploration of 2 %, 300 ratings hold about three that tell of the other tier."""
    chance = random.Random(4)
    seen = []
    for one in traffic(300, 9):
        greedy_large = one.score >= 0.9
        goes_large = greedy_large if chance.random() < 0.98 else not greedy_large
        propensity = 0.99 if goes_large == greedy_large else 0.01
        small, large = one.small / propensity, one.large / propensity
        seen.append(Sample(one.score, 0.0 if goes_large else small, large if goes_large else 0.0))
    with pytest.raises(TooFewData):
        solve_quality(seen, 0.95, 0.9, reach=100)


def test_the_interval_holds_the_value() -> None:
    solved = solve_quality(traffic(2_000, 4), 0.95, 0.9)
    assert solved.low < solved.value < solved.high
    assert solved.value >= 0.95
    assert solved.samples == 2_000


def test_too_few_outcomes_are_refused_with_their_number() -> None:
    with pytest.raises(TooFewData, match="199 outcomes"):
        solve_quality(traffic(199, 1), 0.95, 0.9)
    with pytest.raises(TooFewData, match="99 scored"):
        solve_share([0.5] * 99, 0.3)
    with pytest.raises(TooFewData, match="99 priced"):
        solve_spend([Priced(0.5, 0, 1)] * 99, 1, 5)


def test_what_can_t_be_shown_is_refused() -> None:
    seen_once = [Sample(0.9, 0.0, 0.0)] * 299 + [Sample(0.9, 0.0, 300.0)]
    with pytest.raises(TooFewData, match="not even"):
        solve_quality(seen_once, 0.95, 0.9, reach=300)


def test_a_share() -> None:
    solved = solve_share([number / 1000 for number in range(1000)], 0.3)
    assert solved.threshold == 0.7
    assert solved.value == pytest.approx(0.3)
    assert 0.26 < solved.low < 0.3 < solved.high < 0.34


def test_equal_scores_go_together_within_the_share_and_the_money() -> None:
    assert solve_share([0.5] * 100 + [0.2] * 100, 0.3).value == 0.0
    assert solve_share([0.5] * 100 + [0.2] * 100, 0.5).value == 0.5
    assert solve_spend([Priced(0.5, 0.0, 1.0)] * 100, 1.0, 10.0).value == 0.0


def test_spending() -> None:
    requests = [Priced(number / 200, 0.0, 0.1) for number in range(200)]
    solved = solve_spend(requests, 2.0, 5.0)
    assert solved.value == pytest.approx(5.0)
    assert solved.threshold == 0.5
    assert solved.low < 5 < solved.high
    with pytest.raises(TooFewData, match="small tier alone"):
        solve_spend([Priced(0.5, 1.0, 2.0)] * 200, 1.0, 5.0)


def watched(count: int, seed: int) -> list[tuple[float, float]]:
    """Answers that are right with the probability of their confidence."""
    chance = random.Random(seed)
    confidences = [chance.random() for _ in range(count)]
    return [(one, float(chance.random() < one)) for one in confidences]


def test_a_cascade_commits_what_keeps_the_quality() -> None:
    # Answers at or above c are right in (1 + c) / 2: for 0.8 that asks for c = 0.6.
    solved = [solve_confidence(watched(800, seed), [1.0] * 50, 0.8, 0.9) for seed in range(60)]
    kept = sum((1 + one.threshold) / 2 >= 0.8 for one in solved)
    assert kept >= 52
    assert all(one.threshold < 0.9 for one in solved)


def test_a_cascade_needs_ratings_of_both_tiers() -> None:
    with pytest.raises(TooFewData, match="99 watched answers"):
        solve_confidence(watched(99, 1), [1.0] * 50, 0.8, 0.9)
    with pytest.raises(TooFewData, match="and 29 of the large"):
        solve_confidence(watched(200, 1), [1.0] * 29, 0.8, 0.9)
    with pytest.raises(TooFewData, match="not even the surest"):
        solve_confidence([(0.9, 0.0)] * 200, [1.0] * 50, 0.8, 0.9)


def test_nothing_is_promised_below_what_was_watched() -> None:
    always_right = [(0.6 + 0.4 * place / 200, 1.0) for place in range(200)]
    assert solve_confidence(always_right, [1.0] * 50, 0.95, 0.9).threshold == 0.6
