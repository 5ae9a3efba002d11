"""Configured prices as values: tiers, service tiers, hours."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.accounting.pricing import cost_of
from gateway.app.prices import configured_price
from gateway.core.price import Price
from gateway.core.usage import Usage
from gateway.settings.price import PriceSettings

RATES = {"input": "2", "output": "8", "cached_input": "1"}


def configured(**keys: Any) -> Price:
    price = configured_price("m", PriceSettings.model_validate({**RATES, **keys}))
    assert price is not None
    return price


def usd(price: Price, hour: int = 12, **usage: Any) -> Decimal | None:
    at = price.at(datetime(2026, 1, 1, hour, tzinfo=UTC))
    return cost_of(Usage(**({"prompt_tokens": 1_000_000, "completion_tokens": 0} | usage)), at).usd


def test_no_price_is_none_and_an_hour_is_an_hour() -> None:
    assert configured_price("m", None) is None
    assert configured_price("m", PriceSettings(usd_per_hour=Decimal("0.08"))) == Price(
        "config:m", usd_per_hour=Decimal("0.08")
    )


def test_a_tier_changes_what_it_gives_and_keeps_the_rest() -> None:
    price = configured(
        tiers=[{"above_tokens": 1000, "input": 4}, {"above_tokens": 2000, "output": 9}]
    )
    assert usd(price, prompt_tokens=1000) == Decimal("0.002")
    assert usd(price, prompt_tokens=1001) == Decimal("0.004004")
    longest = price.for_prompt(2001)
    assert (longest.usd_per_million_input, longest.usd_per_million_output) == (
        Decimal(4),
        Decimal(9),
    )
    assert (longest.usd_per_million_cached_input, longest.price_id) == (Decimal(1), "config:m>2000")


def test_service_tiers_are_factors_or_rates() -> None:
    price = configured(service_tiers={"batch": 0.5, "priority": {"input": 3}})
    assert usd(price, service_tier="batch") == 1
    assert usd(price, service_tier="priority") == 3
    assert usd(price, service_tier="priority", completion_tokens=1_000_000) == 11
    assert usd(price, service_tier="flex") is None
    assert usd(price, service_tier="default") == 2


def test_hours_that_cross_midnight_are_cheaper_at_night() -> None:
    price = configured(
        hours=[{"begins": "16:30", "ends": "00:30", "factor": 0.5}],
        service_tiers={"batch": 0.5},
        tiers=[{"above_tokens": 1_000_000, "input": 4}],
    )
    assert [usd(price, hour) for hour in (0, 1, 16, 17, 23)] == [1, 2, 2, 1, 1]
    assert usd(price, 17, service_tier="batch") == Decimal("0.5")
    assert usd(price, 17, prompt_tokens=1_000_001) == Decimal("2.000002")
    night = price.at(datetime(2026, 1, 1, 17, tzinfo=UTC))
    assert night.price_id == "config:m@T16:30"


def test_hours_may_have_rates_of_their_own_and_the_last_of_two_counts() -> None:
    price = configured(
        hours=[
            {"begins": "08:00", "ends": "20:00", "input": 5},
            {"begins": "12:00", "ends": "13:00", "factor": 2},
        ]
    )
    assert [usd(price, hour) for hour in (7, 8, 12, 13, 20)] == [2, 5, 4, 5, 2]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"tiers": [{"above_tokens": 9}, {"above_tokens": 8}]}, "must rise"),
        ({"hours": [{"begins": "01:00", "ends": "02:00"}]}, "a factor or rates"),
        (
            {"hours": [{"begins": "01:00", "ends": "02:00", "factor": 1, "input": 1}]},
            "a factor or rates",
        ),
        ({"hours": [{"begins": "01:00", "ends": "01:00", "factor": 1}]}, "two times of the day"),
        ({"hours": [{"begins": "01:00Z", "ends": "02:00", "factor": 1}]}, "two times of the day"),
        ({"service_tiers": {"batch": -1}}, "greater than or equal to 0"),
        (
            {"tiers": [{"above_tokens": 9}], "service_tiers": {"flex": {"input": 1}}},
            "need them too",
        ),
        (
            {
                "tiers": [{"above_tokens": 9}],
                "hours": [{"begins": "01:00", "ends": "02:00", "input": 1}],
            },
            "need them too",
        ),
        ({"usd_per_hour": 1}, "not both"),
        ({"output": None}, "both needed"),
    ],
)
def test_what_makes_no_price_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PriceSettings.model_validate({**RATES, **keys})
