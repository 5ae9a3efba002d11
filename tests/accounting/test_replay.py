"""Exact figures of replayed requests, and what must hold for any log."""

from dataclasses import replace
from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.history import LoggedRequest, requests_of
from gateway.accounting.query import LedgerReader
from gateway.accounting.replay import Bill, sweep, tier_at, usd_on
from gateway.core.deployment import Tier
from gateway.core.price import Cost, Price, PricePeriod
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import NOON, entry, record

LARGE = Price("config:gpt-4o", Decimal(1000), Decimal(10_000))
SMALL = Price("config:tiny", Decimal(1), Decimal(10))
PRICES = {Tier.SMALL: SMALL, Tier.LARGE: LARGE}
HOURLY = {Tier.SMALL: Price("config:tiny", usd_per_hour=Decimal(1)), Tier.LARGE: LARGE}

#: 100 tokens in and 10 out: 0.2 USD on the large tier, 0.0002 on the small one.
USAGE = Usage(100, 10)


def request(score: float | None, tier: Tier, usd: str | None, **changes: Any) -> LoggedRequest:
    reason = "above_threshold" if tier is Tier.LARGE else "below_threshold"
    amount = None if usd is None else Decimal(usd)
    values: dict[str, Any] = {
        "request_id": "r",
        "ts": NOON,
        "tier": tier,
        "reason": reason if score is not None else "pinned",
        "score": score,
        "threshold": None if score is None else 0.5,
        "usage": USAGE,
        "answer_tier": tier,
        "answer_usd": amount,
        "usd": amount,
    }
    return LoggedRequest(**(values | changes))


LOG = [
    request(0.2, Tier.SMALL, "0.0003"),
    request(0.4, Tier.SMALL, "0.0003"),
    request(0.6, Tier.LARGE, "0.25"),
    request(0.8, Tier.LARGE, "0.25"),
    request(None, Tier.LARGE, "1"),
    request(0.9, Tier.SMALL, "0.5", reason="needs_vision"),
]


def test_each_threshold_moves_the_scores_that_it_passes_and_reprices_them_alone() -> None:
    outcome = sweep(LOG, [0.0, 0.3, 0.5, 0.8, 1.0], PRICES)
    assert [(one.large, one.to_large, one.to_small) for one in outcome.outcomes] == [
        (4, 2, 0),
        (3, 1, 0),
        (2, 0, 0),
        (1, 0, 1),
        (0, 0, 2),
    ]
    assert [one.bill.usd for one in outcome.outcomes] == [
        Decimal("1.5") + Decimal("0.9"),
        Decimal("1.5") + Decimal("0.7003"),
        Decimal("1.5") + Decimal("0.5006"),
        Decimal("1.5") + Decimal("0.2508"),
        Decimal("1.5") + Decimal("0.0010"),
    ]
    assert (outcome.routed, outcome.large, outcome.bill.requests) == (4, 2, 6)
    assert outcome.bill.usd == Decimal("2.0006")


def test_a_score_that_equals_the_threshold_goes_to_the_large_tier() -> None:
    (at,) = sweep([request(0.5, Tier.LARGE, "1")], [0.5], PRICES).outcomes
    assert (at.large, at.to_small) == (1, 0)
    assert (tier_at(0.5, 0.5), tier_at(0.4999, 0.5)) == (Tier.LARGE, Tier.SMALL)


def test_what_moves_without_a_price_is_counted_and_never_free() -> None:
    for prices in ({}, {Tier.SMALL: None, Tier.LARGE: None}, HOURLY):
        (top,) = sweep(LOG, [1.0], prices).outcomes
        assert (top.bill.unknown, top.bill.requests) == (2, 6)
        assert top.bill.usd == Decimal("1.5006")
    (alone,) = sweep([request(0.6, Tier.LARGE, "0.25")], [1.0], {}).outcomes
    assert alone.bill.usd is None


def test_an_unpriced_request_stays_unknown_where_it_stays_and_is_priced_where_it_moves() -> None:
    stays, moves = sweep([request(0.4, Tier.SMALL, None)], [0.3, 0.5], PRICES).outcomes[::-1]
    assert (stays.bill.usd, stays.bill.unknown) == (None, 1)
    assert (moves.bill.usd, moves.bill.unknown) == (Decimal("0.2"), 0)


def test_a_failed_request_cost_nothing_but_elsewhere_nobody_knows() -> None:
    failed = request(0.6, Tier.LARGE, "0", usage=None, answer_tier=None, answer_usd=None)
    assert usd_on(failed, Tier.LARGE, PRICES) == 0
    assert usd_on(failed, Tier.SMALL, PRICES) is None


def test_a_move_to_the_tier_that_answered_in_the_end_costs_that_answer() -> None:
    escalated = request(0.4, Tier.SMALL, "0.3", answer_tier=Tier.LARGE, answer_usd=Decimal("0.29"))
    assert usd_on(escalated, Tier.SMALL, PRICES) == Decimal("0.3")
    assert usd_on(escalated, Tier.LARGE, PRICES) == Decimal("0.29")


def test_a_request_whose_tier_was_missing_is_replayed_as_if_it_had_been_there() -> None:
    unserved = request(0.6, Tier.SMALL, "0.0003", reason="no_large_backend")
    outcome = sweep([unserved], [0.5, 0.7], PRICES)
    live, above = outcome.outcomes
    assert outcome.unserved == 1
    assert (live.to_large, live.bill.usd) == (1, Decimal("0.2"))
    assert (above.to_small, above.to_large, above.bill.usd) == (0, 0, Decimal("0.0003"))


def test_feedback_becomes_quality_where_enough_requests_keep_their_tier() -> None:
    small = [request(0.4, Tier.SMALL, "0", feedback=0.25) for _ in range(20)]
    large = [request(0.6, Tier.LARGE, "0", feedback=1.0) for _ in range(19)]
    outcome = sweep(small + large, [0.3, 0.5, 0.7], PRICES)
    assert (outcome.feedbacks, outcome.explored) == (39, False)
    below, live, above = (one.quality for one in outcome.outcomes)
    assert below is None
    assert live is not None
    assert live.feedbacks == 39
    assert live.mean == pytest.approx((20 * 0.25 + 19) / 39)
    assert above is not None
    assert (above.mean, above.low, above.high, above.feedbacks) == (0.25, 0.25, 0.25, 20)


def test_the_scores_themselves_tell_what_quality_to_expect() -> None:
    """At 0.5 two of four go to the small tier, at 0.2 and 0.4 likely to fall short."""
    outcome = sweep(LOG, [0.0, 0.5, 1.0], PRICES)
    expected = [one.expected for one in outcome.outcomes]
    assert expected == pytest.approx([1, 1 - 0.6 / 4, 1 - 2.0 / 4])
    assert sweep([], [0.5], PRICES).outcomes[0].expected is None


def test_what_moves_costs_the_price_of_its_own_time() -> None:
    changing = replace(
        LARGE,
        schedule=(
            PricePeriod(date(1970, 1, 1), ((time(), Price("free", Decimal(0), Decimal(0))),)),
            PricePeriod(date(2030, 1, 1), ((time(), LARGE),)),
        ),
    )
    assert usd_on(request(0.2, Tier.SMALL, "1"), Tier.LARGE, {Tier.LARGE: changing}) == 0


def test_an_empty_log_costs_nothing() -> None:
    outcome = sweep([], [0.0, 1.0], PRICES)
    assert (outcome.bill, outcome.routed) == (Bill(), 0)
    assert [one.bill.usd for one in outcome.outcomes] == [Decimal(0), Decimal(0)]


def test_a_written_ledger_replays_to_the_same_figures(ledger_url: str) -> None:
    rows = [
        entry(
            request_id=f"r{number}",
            tier=one.tier.value,
            deployment="tiny" if one.tier is Tier.SMALL else "gpt-4o",
            reason=one.reason,
            score=one.score,
            threshold=one.threshold,
            usage=one.usage,
            cost=Cost(one.usd, "computed", "p"),
        )
        for number, one in enumerate(LOG)
    ]
    record(ledger_url, *rows)
    thresholds = [0.0, 0.5, 1.0]
    read = requests_of(LedgerReader(ledger_url))
    assert sweep(read, thresholds, PRICES) == sweep(LOG, thresholds, PRICES)


scores = st.floats(0, 1)
amounts = st.decimals(0, 1000, places=12)


@st.composite
def logs(draw: st.DrawFn, threshold: float) -> list[LoggedRequest]:
    """Requests that a threshold decided, with some that it did not."""
    routed = [
        request(score, tier_at(score, threshold), str(draw(amounts)), threshold=threshold)
        for score in draw(st.lists(scores, max_size=20))
    ]
    pinned = [
        request(None, draw(st.sampled_from(Tier)), str(draw(amounts)))
        for _ in range(draw(st.integers(0, 3)))
    ]
    return draw(st.permutations(routed + pinned))


@given(data=st.data(), threshold=scores, others=st.lists(scores, max_size=5))
def test_at_the_logged_threshold_nothing_moves_and_the_cost_is_the_log_s(
    data: st.DataObject, threshold: float, others: list[float]
) -> None:
    log = data.draw(logs(threshold))
    thresholds = sorted({threshold, *others})
    outcome = sweep(log, thresholds, PRICES)
    at = outcome.outcomes[thresholds.index(threshold)]
    assert (at.to_large, at.to_small) == (0, 0)
    assert at.bill == outcome.bill
    assert at.bill.usd == sum((one.usd for one in log if one.usd is not None), Decimal(0))
    assert at.large == outcome.large


@given(data=st.data(), threshold=scores, others=st.lists(scores, min_size=1, max_size=5))
def test_each_threshold_is_the_sum_of_its_requests(
    data: st.DataObject, threshold: float, others: list[float]
) -> None:
    log = [
        replace(one, usd=None) if data.draw(st.booleans()) else one
        for one in data.draw(logs(threshold))
    ]
    for at in sweep(log, sorted(set(others)), PRICES).outcomes:
        routed = {
            number: tier_at(one.score, at.threshold) if one.score is not None else one.tier
            for number, one in enumerate(log)
        }
        bill = Bill()
        for number, one in enumerate(log):
            bill.add(usd_on(one, routed[number], PRICES))
        assert at.bill == bill
        moved = [number for number, one in enumerate(log) if routed[number] is not one.tier]
        assert at.to_large + at.to_small == len(moved)
