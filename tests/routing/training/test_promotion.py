"""A router takes over only where held-out ratings show it."""

import random

import pytest

from gateway.routing.training.promotion import Judged, TooFewRatings, Verdict, judge


def traffic(count: int, *, seed: int, new_knows: float, propensity: float = 0.5) -> list[Judged]:
    """The small tier fails with a hidden probability, of which the new score knows a part."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        hardness = chance.random()
        is_large = chance.random() < propensity
        fails = 0.05 if is_large else hardness
        rows.append(
            Judged(
                current=chance.random(),
                new=new_knows * hardness + (1 - new_knows) * chance.random(),
                is_large=is_large,
                propensity=propensity if is_large else 1 - propensity,
                feedback=float(chance.random() > fails),
            )
        )
    return rows


def verdict(**options: float) -> Verdict:
    return judge(traffic(1_500, seed=3, new_knows=options["new_knows"]))


def test_a_router_that_knows_more_is_better() -> None:
    found = verdict(new_knows=1.0)
    assert found.is_better
    assert found.new > found.current
    assert found.current == pytest.approx(found.chance, abs=0.03)


def test_a_router_that_knows_nothing_is_seldom_promoted() -> None:
    promoted = sum(judge(traffic(600, seed=seed, new_knows=0.0)).is_better for seed in range(30))
    assert promoted <= 3


def test_unequal_propensities_are_weighted_away() -> None:
    rows = traffic(6_000, seed=5, new_knows=1.0, propensity=0.15)
    even = traffic(6_000, seed=6, new_knows=1.0)
    assert judge(rows).new == pytest.approx(judge(even).new, abs=0.03)


def test_too_few_ratings_are_refused() -> None:
    with pytest.raises(TooFewRatings, match="199 of 199"):
        judge(traffic(199, seed=1, new_knows=1.0))
    sure = [Judged(0.1, 0.2, True, 1.0, 1.0)] * 500
    with pytest.raises(TooFewRatings, match="0 of 500"):
        judge(sure)
    one_sided = [Judged(0.1, 0.2, True, 0.9, 1.0)] * 500
    with pytest.raises(TooFewRatings, match="of each are needed"):
        judge(one_sided)
