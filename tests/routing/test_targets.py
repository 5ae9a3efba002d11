"""Thresholds that follow live traffic."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.targets import NOTHING, ShareTarget, SpendTarget, prior_scores

ONE_USD = Decimal(1)


def no_price() -> None:
    return None


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_the_share_holds_on_traffic_unlike_the_prior(share: float) -> None:
    chance = random.Random(3)
    target = ShareTarget(share, [0.9] * 200)
    sent = []
    for number in range(6_000):
        score = chance.betavariate(2, 8)
        if number >= 3_000:
            sent.append(score >= target.threshold)
        target.observe(score, no_price)
    assert sum(sent) / len(sent) == pytest.approx(share, abs=0.03)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.floats(0, 1),
    st.integers(1, 30),
)
def test_the_window_holds_the_newest_scores_only(
    scores: list[float], share: float, window: int
) -> None:
    target = ShareTarget(share, [], window=window)
    for score in scores:
        target.observe(score, no_price)
    newest = scores[-window:]
    assert target.threshold == ShareTarget(share, newest).threshold
    if target.threshold <= 1:
        assert target.threshold in newest


def test_equal_scores_go_together_within_the_share() -> None:
    assert ShareTarget(0.1, [0.5] * 200).threshold == NOTHING
    assert ShareTarget(0.4, [0.2] * 50 + [0.5] * 30 + [0.8] * 20).threshold == 0.8


def test_the_small_tier_s_own_cost_is_kept_back() -> None:
    clock = Clock()
    target = SpendTarget(Decimal(1_200), 0.5, now=clock)
    chance = random.Random(2)
    step = timedelta(seconds=86_400 / 1_001)
    total = Decimal(0)
    for day in (1, 2):
        clock.now = datetime(2026, 3, day, tzinfo=UTC)
        total = Decimal(0)
        for _ in range(1_000):
            clock.now += step
            score = chance.random()
            usd = Decimal(2) if score >= target.threshold else Decimal(1)
            total += usd
            target.spent(usd, clock.now.date())
            target.observe(score, lambda: (Decimal(1), Decimal(2)))
    assert Decimal(1_100) <= total <= Decimal(1_230)


def test_nothing_and_everything() -> None:
    assert ShareTarget(0.0, [0.1, 0.2]).threshold == NOTHING
    assert ShareTarget(1.0, [0.1, 0.2]).threshold == 0.1


class Clock:
    """A day that passes by itself."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def spend_a_day(target: SpendTarget, clock: Clock, requests: int, seed: int = 5) -> Decimal:
    """Requests spread over a day; the large tier costs 0.01 USD more, the small one nothing."""
    chance = random.Random(seed)
    total = Decimal(0)
    step = timedelta(seconds=86_400 / (requests + 1))
    for _ in range(requests):
        clock.now += step
        score = chance.random()
        if score >= target.threshold:
            total += Decimal("0.01")
            target.spent(Decimal("0.01"), clock.now.date())
        target.observe(score, lambda: (Decimal(0), Decimal("0.01")))
    return total


def test_a_day_s_money_is_nearly_used_and_never_passed() -> None:
    clock = Clock()
    target = SpendTarget(Decimal(5), 0.5, now=clock)
    spend_a_day(target, clock, 2_000)
    clock.now = datetime(2026, 3, 2, tzinfo=UTC)
    second = spend_a_day(target, clock, 2_000, seed=6)
    assert Decimal("4.5") <= second <= Decimal(5)


def test_when_the_money_is_gone_nothing_goes_to_large_until_midnight() -> None:
    clock = Clock()
    target = SpendTarget(ONE_USD, 0.5, now=clock)
    target.spent(ONE_USD, clock.now.date())
    assert target.threshold == NOTHING
    clock.now += timedelta(days=1)
    assert target.threshold == 0.5


def test_yesterday_s_late_calls_don_t_count_today() -> None:
    clock = Clock()
    target = SpendTarget(ONE_USD, 0.5, now=clock)
    target.spent(ONE_USD, (clock.now - timedelta(days=1)).date())
    assert target.threshold == 0.5


def test_without_prices_the_threshold_stays() -> None:
    target = SpendTarget(ONE_USD, 0.4)
    for _ in range(500):
        target.observe(0.9, no_price)
    assert target.threshold == 0.4


def test_prior_scores_have_the_shipped_distribution() -> None:
    scores = prior_scores([(0.0, 1.0), (0.5, 0.4), (0.9, 0.1)])
    assert sum(score >= 0.5 for score in scores) / len(scores) == pytest.approx(0.4, abs=0.01)
    assert sum(score >= 0.9 for score in scores) / len(scores) == pytest.approx(0.1, abs=0.01)
