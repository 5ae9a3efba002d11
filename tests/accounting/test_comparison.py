"""Which requests another configuration would move, and what that changes."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from gateway.accounting.comparison import Comparison, Move, Thresholds, compare
from gateway.accounting.history import LoggedRequest
from gateway.accounting.replay import TierPrices
from gateway.core.deployment import Tier
from gateway.core.price import Price
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import NOON

PRICES: TierPrices = {
    Tier.SMALL: Price("config:tiny", Decimal(1), Decimal(10)),
    Tier.LARGE: Price("config:gpt-4o", Decimal(1000), Decimal(10_000)),
}


def thresholds(
    by_policy: Mapping[str, float], default: str = "balanced", prices: TierPrices = PRICES
) -> Thresholds:
    return Thresholds(by_policy, default, prices)


LIVE = thresholds({"balanced": 0.5, "cheap": 0.8})


def request(score: float | None, threshold: float = 0.5, **changes: Any) -> LoggedRequest:
    """100 tokens in and 10 out cost 0.2 USD on the large tier, 0.0002 on the small one."""
    tier = Tier.LARGE if score is None or score >= threshold else Tier.SMALL
    usd = Decimal("0.2") if tier is Tier.LARGE else Decimal("0.0002")
    values: dict[str, Any] = {
        "request_id": "r",
        "ts": NOON,
        "tier": tier,
        "reason": "above_threshold" if tier is Tier.LARGE else "below_threshold",
        "policy": "balanced",
        "score": score,
        "threshold": threshold,
        "usage": Usage(100, 10),
        "answer_tier": tier,
        "answer_usd": usd,
        "usd": usd,
    }
    return LoggedRequest(**(values | changes))


def compared(*requests: LoggedRequest, new: Thresholds, listed: int = 20) -> Comparison:
    return compare(requests, LIVE, new, listed=listed)


def test_only_requests_between_the_thresholds_move() -> None:
    outcome = compared(
        request(0.4), request(0.55), request(0.7), new=thresholds({"balanced": 0.6, "cheap": 0.8})
    )
    assert outcome.moves == [
        Move("r", NOON, "balanced", 0.55, Tier.LARGE, Tier.SMALL, Decimal("-0.1998"))
    ]
    assert (outcome.routed, outcome.moved, outcome.to_small, outcome.to_large) == (3, 1, 1, 0)
    assert outcome.change_usd == Decimal("-0.1998")
    assert (outcome.live.large, outcome.new.large) == (2, 1)
    assert (outcome.live.bill.usd, outcome.new.bill.usd) == (Decimal("0.4002"), Decimal("0.2004"))


def test_the_same_configuration_moves_nothing() -> None:
    outcome = compared(request(0.4), request(0.7), request(0.75, 0.8, policy="cheap"), new=LIVE)
    assert outcome.moved == 0
    assert outcome.live == outcome.new


def test_each_request_follows_its_own_policy() -> None:
    new = thresholds({"balanced": 0.5, "cheap": 0.7})
    cheap = request(0.75, 0.8, policy="cheap", model_requested="auto:cheap")
    outcome = compared(request(0.45), cheap, new=new)
    assert [(move.policy, move.to_tier) for move in outcome.moves] == [("cheap", Tier.LARGE)]


def test_a_threshold_of_the_request_s_own_is_kept_and_counted() -> None:
    own = request(0.55, 0.35, model_requested="auto@0.35")
    outcome = compared(own, request(0.55), new=thresholds({"balanced": 0.9}))
    assert (outcome.own, outcome.moved) == (1, 1)


@pytest.mark.parametrize("policy", ["balanced", None])
def test_auto_follows_the_default_policy_to_its_successor(policy: str | None) -> None:
    new = thresholds({"balanced": 0.5, "cheap": 0.8}, default="cheap")
    assert compared(request(0.6, policy=policy), new=new).to_small == 1
    named = request(0.6, policy="balanced", model_requested="auto:balanced")
    assert compared(named, new=new).moved == 0


def test_a_policy_that_is_gone_is_replayed_as_the_default() -> None:
    cheap = request(0.85, 0.8, policy="cheap", model_requested="auto:cheap")
    assert compared(cheap, new=thresholds({"balanced": 0.9})).to_small == 1


def test_pinned_requests_stay_and_count_in_both_bills() -> None:
    pinned = request(None, threshold=0.0, reason="pinned", policy=None)
    outcome = compared(pinned, new=thresholds({"balanced": 1.0}))
    assert (outcome.routed, outcome.moved) == (0, 0)
    assert outcome.live.bill.usd == outcome.new.bill.usd == Decimal("0.2")


def test_moves_of_unknown_cost_are_counted_not_summed() -> None:
    new = thresholds({"balanced": 0.9}, prices={Tier.LARGE: PRICES[Tier.LARGE]})
    outcome = compared(request(0.6), new=new)
    assert outcome.moves[0].change_usd is None
    assert (outcome.unknown, outcome.new.bill.unknown) == (1, 1)
    assert outcome.change_usd == 0


def test_the_list_is_short_and_the_count_whole() -> None:
    log = [request(0.6, request_id=f"r{n}", ts=NOON - timedelta(hours=n)) for n in range(5)]
    outcome = compared(*log, new=thresholds({"balanced": 0.9}), listed=2)
    assert [move.request_id for move in outcome.moves] == ["r0", "r1"]
    assert outcome.moved == 5
