"""Which rates hold: by time, by service tier and by the length of the prompt."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest

from gateway.core.price import Price, PricePeriod, PromptTier

DAY, NIGHT = Price("day", Decimal(2), Decimal(4)), Price("night", Decimal(1), Decimal(2))
NEW = Price("new", Decimal(9), Decimal(9))
CHANGING = Price(
    "day",
    Decimal(2),
    Decimal(4),
    schedule=(
        PricePeriod(date(1970, 1, 1), ((time(), NIGHT), (time(8), DAY), (time(20), NIGHT))),
        PricePeriod(date(2026, 5, 1), ((time(), NEW),)),
    ),
)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 4, 30, 7, 59, 59, 999999, tzinfo=UTC), "night"),
        (datetime(2026, 4, 30, 8, tzinfo=UTC), "day"),
        (datetime(2026, 4, 30, 20, tzinfo=UTC), "night"),
        (datetime(2026, 4, 30, 23, 59, tzinfo=UTC), "night"),
        (datetime(2026, 5, 1, tzinfo=UTC), "new"),
        (datetime(2026, 5, 1, 1, tzinfo=timezone(timedelta(hours=2))), "night"),
        (datetime(1960, 1, 1, 9, tzinfo=UTC), "day"),
    ],
)
def test_the_moment_in_utc_chooses_the_price(moment: datetime, expected: str) -> None:
    assert CHANGING.at(moment).price_id == expected


def test_a_price_that_never_changes_is_itself() -> None:
    assert DAY.at(datetime.now(UTC)) is DAY
    assert DAY.for_prompt(10**9) is DAY


@pytest.mark.parametrize(
    ("tokens", "expected"), [(0, "p"), (10, "p"), (11, "p>10"), (20, "p>10"), (21, "p>20")]
)
def test_the_highest_tier_that_a_prompt_passes_counts(tokens: int, expected: str) -> None:
    tiers = (PromptTier(10, Price("p>10")), PromptTier(20, Price("p>20")))
    assert Price("p", tiers=tiers).for_prompt(tokens).price_id == expected


@pytest.mark.parametrize("tier", [None, "default", "standard", "on_demand", "auto"])
def test_ordinary_service_costs_the_ordinary_price(tier: str | None) -> None:
    assert DAY.for_service(tier) is DAY


def test_another_service_costs_its_own_price_or_an_unknown_one() -> None:
    price = Price("p", Decimal(2), service_tiers=(("batch", NIGHT),))
    assert price.for_service("batch") is NIGHT
    assert price.for_service("priority") is None


def test_a_factor_reaches_every_rate_of_every_tier() -> None:
    tier = PromptTier(10, Price("p>10", Decimal(4), usd_per_thousand_searches=Decimal(8)))
    halved = Price("p", Decimal(2), Decimal(6), tiers=(tier,)).scaled(Decimal("0.5"), "p+batch")
    assert (halved.price_id, halved.usd_per_million_input, halved.usd_per_million_output) == (
        "p+batch",
        Decimal(1),
        Decimal(3),
    )
    beyond = halved.for_prompt(11)
    assert (beyond.price_id, beyond.usd_per_million_input) == ("p+batch>10", Decimal(2))
    assert (beyond.usd_per_thousand_searches, beyond.usd_per_million_output) == (Decimal(4), None)
