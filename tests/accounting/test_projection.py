"""What the dashboard says of other thresholds is what `replay` says, from sums by score alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.history import LoggedRequest
from gateway.accounting.pricing import amount_of, usd_of, usd_text
from gateway.accounting.projection import Amount, Group, groups_of, saving_of
from gateway.accounting.replay import sweep
from gateway.core.deployment import Tier
from gateway.core.price import Price, PromptTier
from gateway.core.usage import Usage

PRICES = {
    Tier.SMALL: Price("small", Decimal("0.15"), Decimal("0.6")),
    Tier.LARGE: Price("large", Decimal("2.5"), Decimal(10)),
}


@st.composite
def logged(draw: st.DrawFn) -> LoggedRequest:
    tier = draw(st.sampled_from(Tier))
    usage = Usage(draw(st.integers(1, 5_000)), draw(st.integers(0, 5_000)))
    is_priced = draw(st.integers(0, 9)) > 0
    usd = amount_of(usage, PRICES[tier]) if is_priced else None
    return LoggedRequest(
        request_id=str(draw(st.uuids())),
        ts=datetime(2026, 3, 1, tzinfo=UTC),
        tier=tier,
        reason="below_threshold" if tier is Tier.SMALL else "above_threshold",
        # Many stand on a threshold.
        score=draw(st.integers(0, 200)) / 200,
        usage=usage,
        answer_tier=tier,
        answer_usd=usd,
        usd=usd,
    )


def scores_of(requests: Sequence[LoggedRequest]) -> list[dict[str, Any]]:
    """The requests as `Overview.scores` has them."""
    groups: dict[tuple[Tier, int], list[LoggedRequest]] = {}
    for one in requests:
        groups.setdefault(
            (one.tier, sum((one.score or 0) >= place / 100 for place in range(1, 100))), []
        ).append(one)
    return [
        {
            "policy": "balanced",
            "tier": tier.value,
            "bin": number,
            "requests": len(members),
            "prompt_tokens": sum(one.usage.prompt_tokens for one in members if one.usage),
            "completion_tokens": sum(one.usage.completion_tokens for one in members if one.usage),
            "cost_usd": usd_text(sum((m.usd for m in members if m.usd is not None), Decimal(0)))
            if any(one.usd is not None for one in members)
            else None,
            "unpriced": sum(one.usd is None for one in members),
        }
        for (tier, number), members in groups.items()
    ]


def at_threshold(groups: Sequence[Group], hundredths: int) -> Amount:
    """The sum that the page makes of them."""
    amounts = [
        one.kept if (one.bin >= hundredths) == (one.went is Tier.LARGE) else one.moved
        for one in groups
    ]
    return Amount(sum(one.pico for one in amounts), sum(one.unknown for one in amounts))


@given(st.lists(logged(), max_size=30), st.integers(0, 100))
def test_a_threshold_means_what_replay_says(requests: list[LoggedRequest], cut: int) -> None:
    amount = at_threshold(groups_of(scores_of(requests), PRICES), cut)
    bill = sweep(requests, [cut / 100], PRICES).outcomes[0].bill
    assert usd_of(amount.pico) == bill.known_usd
    assert amount.unknown == bill.unknown


@given(st.lists(logged(), max_size=30))
def test_a_saving_compares_the_same_requests(requests: list[LoggedRequest]) -> None:
    saving = saving_of(groups_of(scores_of(requests), PRICES))
    assert saving.compared + saving.unknown == len(requests)
    if not saving.unknown:
        assert usd_of(saving.actual_pico) == sum((one.usd or 0) for one in requests)
        large = sweep(requests, [0], PRICES).outcomes[0].bill
        assert usd_of(saving.large_pico) == large.known_usd
    if all(one.tier is Tier.LARGE for one in requests):
        assert saving.actual_pico == saving.large_pico


def test_without_a_price_nothing_is_free() -> None:
    row = {"policy": None, "tier": "small", "bin": 3, "requests": 4, "prompt_tokens": 10}
    row |= {"completion_tokens": 10, "cost_usd": "0.5", "unpriced": 0}
    groups = groups_of([row], {Tier.LARGE: None})
    assert at_threshold(groups, 0).unknown == 4
    saving = saving_of(groups)
    assert (saving.compared, saving.unknown) == (0, 4)


def test_many_short_prompts_arent_priced_as_a_long_one() -> None:
    longer = Price("large>1000", Decimal(5), Decimal(20))
    tiered = Price("large", Decimal("2.5"), Decimal(10), tiers=(PromptTier(1000, longer),))
    row = {"policy": None, "tier": "small", "bin": 3, "requests": 100, "prompt_tokens": 100_000}
    row |= {"completion_tokens": 0, "cost_usd": "0.1", "unpriced": 0}
    [short] = groups_of([row], {Tier.LARGE: tiered})
    assert usd_of(short.moved.pico) == Decimal("0.25")
    [long] = groups_of([{**row, "requests": 50}], {Tier.LARGE: tiered})
    assert usd_of(long.moved.pico) == Decimal("0.5")


def test_what_later_attempts_cost_is_spent_and_only_what_is_inevitable_isnt_lost() -> None:
    row = {"policy": None, "tier": "small", "bin": 3, "requests": 1, "prompt_tokens": 1_000_000}
    row |= {"completion_tokens": 0, "cost_usd": "0.15", "unpriced": 0}
    groups = groups_of([row], PRICES)
    again = {"tier": "large", "calls": 1, "cost_usd": "1", "unpriced": 0, "escalated": False}
    escalated = {**again, "cost_usd": "2", "escalated": True}
    small = {**again, "tier": "small", "cost_usd": "4", "unpriced": 3}
    saving = saving_of(groups, [again, escalated, small])
    assert usd_of(saving.actual_pico) == Decimal("7.15")
    assert usd_of(saving.large_pico) == Decimal("3.5")
    assert usd_of(saving.later_pico) == 7
    assert saving.later_unknown == 3
