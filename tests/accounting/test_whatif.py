"""What the same traffic would have cost elsewhere, over real ledgers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.accounting.pricing import cost_of
from gateway.accounting.query import LedgerReader
from gateway.accounting.whatif import SCENARIOS, what_if, what_ifs
from gateway.core.deployment import Tier
from gateway.core.price import UNPRICED, Cost, Price, PricePeriod, PromptTier
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import NOON, entry, record

LARGE = Price("config:gpt-4o", Decimal("2.5"), Decimal(10), Decimal("1.25"))
ON_LARGE = {Tier.LARGE: LARGE}


def cost(usd: str) -> Cost:
    return Cost(Decimal(usd), "computed", "p")


@pytest.fixture
def mixed(ledger_url: str) -> LedgerReader:
    """One small answer, one large answer after a failed attempt, one cascade, one failure."""
    usage = Usage(1000, 100, cached_tokens=200)
    small = {"tier": "small", "deployment": "smollm2"}
    record(
        ledger_url,
        entry(request_id="a", usage=usage, cost=cost("0.0001"), **small),
        entry(request_id="b", usage=None, cost=UNPRICED, outcome="timeout"),
        entry(request_id="b", attempt=2, usage=usage, cost=cost("0.00325")),
        entry(request_id="c", usage=Usage(1000, 8), cost=cost("0.00002"), **small),
        entry(request_id="c", attempt=2, usage=usage, cost=cost("0.00325")),
        entry(request_id="d", usage=None, cost=UNPRICED, outcome="upstream_error"),
    )
    return LedgerReader(ledger_url)


def test_all_large_counts_each_request_once_with_its_answering_tokens(mixed: LedgerReader) -> None:
    outcome = what_if(mixed, "all-large", ON_LARGE)
    assert (outcome.requests, outcome.unknown, outcome.unpriced) == (4, 0, 0)
    assert outcome.usd == 3 * Decimal("0.00325")
    assert outcome.actual_usd == Decimal("0.0001") + 2 * Decimal("0.00325") + Decimal("0.00002")
    assert outcome.saved_share == pytest.approx(1 - 0.00662 / 0.00975)


def test_what_only_one_tier_can_answer_is_no_part_of_a_scenario(
    mixed: LedgerReader, ledger_url: str
) -> None:
    before = what_if(mixed, "all-large", ON_LARGE)
    record(ledger_url, entry(request_id="e", endpoint="/v1/embeddings", usage=Usage(1000, 0)))
    assert what_if(mixed, "all-large", ON_LARGE) == before


def test_a_price_per_hour_prices_only_what_that_tier_answered(mixed: LedgerReader) -> None:
    outcome = what_if(
        mixed, "all-small", {Tier.SMALL: Price("local", usd_per_hour=Decimal("0.08"))}
    )
    assert (outcome.usd, outcome.unknown, outcome.saved_share) == (Decimal("0.0001"), 2, None)


def test_without_a_price_the_scenario_is_unknown_not_free(ledger_url: str) -> None:
    record(ledger_url, entry(tier="small", cost=UNPRICED))
    outcome = what_if(LedgerReader(ledger_url), "all-large", {})
    assert (outcome.usd, outcome.unknown, outcome.actual_usd) == (None, 1, None)
    assert (outcome.unpriced, outcome.saved_share) == (1, None)


def test_the_scenario_is_filtered_like_everything_else(mixed: LedgerReader) -> None:
    assert what_if(mixed, "all-large", ON_LARGE, tier="small").requests == 2
    assert what_if(mixed, "all-large", ON_LARGE, since=NOON + timedelta(days=9)).requests == 0


def test_a_missing_database_is_no_traffic(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    assert what_if(LedgerReader(f"sqlite:///{file}"), "all-large", ON_LARGE).requests == 0
    assert not file.exists()


# Traffic of which the truth is known: the large tier's prompts are 0.9 of the small one's tokens,
# its answers twice as long.

RATES = {
    Tier.LARGE: Price("large", Decimal(2), Decimal(10)),
    Tier.SMALL: Price("s", Decimal(0), Decimal(1)),
}


def routed(number: int, *, large: bool, score: float, prompt: int = 100, answer: int = 50) -> Any:
    """A request that its score decided, at the cost of its tier."""
    read, written = (prompt * 9 // 10, 2 * answer) if large else (prompt, answer)
    usage = Usage(read, written)
    return entry(
        request_id=f"req_{number * 7919 % 65536:04x}",
        tier="large" if large else "small",
        deployment="big" if large else "tiny",
        reason="explored",
        score=score,
        usage=usage,
        cost=cost_of(usage, RATES[Tier.LARGE if large else Tier.SMALL]),
        overhead_ms=2.0,
    )


@pytest.fixture(scope="module")
def explored(new_ledger_url: Callable[[], str]) -> LedgerReader:
    """400 requests, a quarter of them large, hard ones longer; 40 cascades that gave up."""
    url = new_ledger_url()
    entries = []
    for number in range(400):
        score = number % 10 / 10 + 0.05
        length = 20 + 10 * (number % 10)
        entries.append(routed(number, large=number // 10 % 4 == 0, score=score, answer=length))
    for number in range(400, 440):
        first = routed(number, large=False, score=0.95, answer=5)
        first.outcome = "cancelled"
        second = routed(number, large=True, score=0.95, answer=50)
        second.attempt, second.reason = 2, "escalated"
        entries += [first, second]
    record(url, *entries)
    return LedgerReader(url)


def test_the_ratio_of_tokens_is_learnt_from_what_both_tiers_answered(
    explored: LedgerReader,
) -> None:
    outcome = what_if(explored, "all-large", RATES)
    assert (outcome.prompt_ratio.value, outcome.prompt_ratio.requests) == (Decimal("0.9"), 40)
    assert (outcome.answer_ratio.value, outcome.answer_ratio.requests) == (Decimal(2), 400)


def test_all_large_costs_what_it_would_have_cost(explored: LedgerReader) -> None:
    """As if every request had been answered by the large tier's model."""
    truth = sum(90 * 2 + 2 * (20 + 10 * (number % 10)) * 10 for number in range(400))
    truth += 40 * (90 * 2 + 100 * 10)
    assert what_if(explored, "all-large", RATES).usd == Decimal(truth) / 10**6


def test_all_small_costs_what_it_would_have_cost(explored: LedgerReader) -> None:
    truth = sum(20 + 10 * (number % 10) for number in range(400)) + 40 * 50
    assert what_if(explored, "all-small", RATES).usd == Decimal(truth) / 10**6


def test_random_costs_the_share_of_both(explored: LedgerReader) -> None:
    large, small, random = what_ifs(explored, SCENARIOS, RATES)
    assert large.usd is not None
    assert small.usd is not None
    share = Decimal(140) / 440
    assert random.large_share == pytest.approx(float(share))
    truth = share * large.usd + (1 - share) * small.usd
    assert random.usd == pytest.approx(truth, abs=Decimal("1e-12"))
    assert (large.shortfall, random.routed) == (0, 440)
    assert random.shortfall == pytest.approx((1 - float(share)) * (200 + 38) / 440)
    assert small.shortfall == pytest.approx((200 + 38) / 440)
    assert random.actual_shortfall == pytest.approx(150 / 440)


def test_the_routers_own_cost_is_in_the_bill(explored: LedgerReader) -> None:
    free = what_if(explored, "all-large", RATES)
    paid = what_if(explored, "all-large", RATES, Decimal(36))
    assert free.router_usd is None
    assert paid.router_usd == Decimal("0.00001") * 2 * 440
    assert free.saved_usd is not None
    assert paid.saved_usd == free.saved_usd - paid.router_usd


def test_intervals_hold_their_figures_and_come_again(explored: LedgerReader) -> None:
    one, again = (what_if(explored, "all-large", RATES, Decimal(36)) for _ in range(2))
    assert one == again
    assert one.usd is not None
    assert one.saved_usd is not None
    assert one.interval is not None
    assert one.saved_interval is not None
    assert one.interval.low < one.usd < one.interval.high
    assert one.saved_interval.low < one.saved_usd < one.saved_interval.high


def test_a_request_that_stays_costs_what_it_cost_whatever_prices_say(ledger_url: str) -> None:
    record(ledger_url, entry(usage=Usage(10, 20), cost=Cost(Decimal("0.5"), "provider")))
    assert what_if(LedgerReader(ledger_url), "all-large", RATES).usd == Decimal("0.5")


def test_what_moves_costs_the_rates_of_its_own_time_and_length(ledger_url: str) -> None:
    """At noon the dear rate holds, a long prompt costs double; at night all of it is free."""
    day = Price(
        "d", Decimal(1), Decimal(1), tiers=(PromptTier(100, Price("d>", Decimal(2), Decimal(2))),)
    )
    night = Price("n", Decimal(0), Decimal(0))
    before = Price("b", Decimal(7), Decimal(7))
    periods = (
        PricePeriod(date(1970, 1, 1), ((time(), before),)),
        PricePeriod(date(2026, 3, 1), ((time(), night), (time(8), day), (time(20), night))),
    )
    small = {"tier": "small", "deployment": "tiny"}
    record(
        ledger_url,
        entry(ts=NOON, usage=Usage(100, 0), **small),
        entry(ts=NOON, usage=Usage(101, 0), **small),
        entry(ts=NOON + timedelta(hours=9), usage=Usage(1000, 0), **small),
        entry(ts=NOON - timedelta(days=1), usage=Usage(10, 0), **small),
    )
    prices = {Tier.LARGE: replace(day, schedule=periods)}
    outcome = what_if(LedgerReader(ledger_url), "all-large", prices)
    assert outcome.usd == Decimal(100 + 202 + 0 + 70) / 10**6


def test_by_chance_nothing_moves_that_no_score_decided(ledger_url: str) -> None:
    pinned = entry(reason="pinned", cost=Cost(Decimal("0.5"), "provider"))
    record(ledger_url, pinned)
    outcome = what_if(LedgerReader(ledger_url), "random", {})
    assert (outcome.usd, outcome.saved_usd, outcome.routed) == (Decimal("0.5"), Decimal(0), 0)
