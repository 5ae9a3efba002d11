"""The catalogue's real data: rates, windows, dates, and what it doesn't know."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Usage as TheirUsage
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.accounting.catalogue import (
    catalogue_price,
    context_window,
    entries_of,
    price_of,
    provider_of,
)
from gateway.accounting.pricing import cost_of
from gateway.core.price import PICO_USD
from gateway.core.usage import Usage


def test_a_known_model_has_its_published_rates() -> None:
    price = catalogue_price("gpt-4o", "openai")
    assert price is not None
    assert price.price_id == "genai-prices:openai/gpt-4o"
    assert {name: rate for name, rate in price.rates() if rate is not None} == {
        "usd_per_million_input": Decimal("2.5"),
        "usd_per_million_output": Decimal(10),
        "usd_per_million_cached_input": Decimal("1.25"),
        "usd_per_thousand_searches": Decimal(10),
    }


def test_a_long_prompt_has_the_rates_of_its_tier_for_the_whole_call() -> None:
    price = catalogue_price("claude-sonnet-4-5", "anthropic")
    assert price is not None
    at_the_border, beyond = price.for_prompt(200_000), price.for_prompt(200_001)
    assert at_the_border.usd_per_million_cache_write_1h == Decimal(6)
    assert (beyond.usd_per_million_input, beyond.usd_per_million_output) == (
        Decimal(6),
        Decimal("22.5"),
    )
    assert beyond.price_id == "genai-prices:anthropic/claude-sonnet-4-5>200000"
    short, long = Usage(200_000, 1000), Usage(200_001, 1000)
    assert cost_of(short, price).usd == Decimal("0.615")
    assert cost_of(long, price).usd == Decimal("1.222506")
    assert cost_of(long, price).price_id == beyond.price_id


def test_a_service_tier_has_its_own_rates_and_an_unknown_one_none() -> None:
    price = catalogue_price("gpt-4o", "openai")
    usage = Usage(1_000_000, 0)
    found = {
        tier: cost_of(replace(usage, service_tier=tier), price)
        for tier in (None, "default", "priority", "batch", "scale")
    }
    assert {tier: cost.usd for tier, cost in found.items()} == {
        None: Decimal("2.5"),
        "default": Decimal("2.5"),
        "priority": Decimal("4.25"),
        "batch": Decimal("1.25"),
        "scale": None,
    }
    assert found["scale"].source == "unpriced"
    assert found["batch"].price_id == "genai-prices:openai/gpt-4o@2026-10-14+batch"


def test_audio_and_images_have_rates_of_their_own() -> None:
    spoken, drawn = (catalogue_price(model, "openai") for model in ("gpt-audio", "gpt-image-1"))
    assert spoken is not None
    assert (spoken.usd_per_million_audio_input, spoken.usd_per_million_audio_output) == (
        Decimal(32),
        Decimal(64),
    )
    assert drawn is not None
    assert drawn.usd_per_million_image_input == Decimal(10)


@pytest.mark.parametrize(
    ("model", "usage", "theirs"),
    [
        (
            "gpt-image-1.5",
            Usage(100, 1000, image_input_tokens=40, image_output_tokens=900),
            {
                "input_tokens": 100,
                "input_image_tokens": 40,
                "output_tokens": 1000,
                "output_image_tokens": 900,
            },
        ),
        ("whisper-1", Usage(0, 0, audio_s=9.5), {"audio_seconds": 9.5, "input_audio_seconds": 9.5}),
        ("tts-1", Usage(0, 0, characters=1234), {"input_characters": 1234}),
        (
            "gpt-4o-transcribe",
            Usage(60, 3, audio_input_tokens=50),
            {"input_tokens": 60, "input_audio_tokens": 50, "output_tokens": 3},
        ),
    ],
)
def test_what_media_cost_is_what_the_catalogue_itself_computes(
    model: str, usage: Usage, theirs: dict[str, Any]
) -> None:
    _, info = get_snapshot().find_provider_model(model, None, "openai", None)
    expected = info.get_prices(datetime.now(UTC)).calc_price(TheirUsage(**theirs))["total_price"]
    assert cost_of(usage, catalogue_price(model, "openai")).usd == expected > 0


def test_the_hour_chooses_the_price() -> None:
    price = catalogue_price("deepseek-chat", "deepseek")
    assert price is not None
    night, day = (price.at(datetime(2025, 3, 1, hour, tzinfo=UTC)) for hour in (20, 12))
    assert (night.usd_per_million_input, day.usd_per_million_input) == (
        Decimal("0.135"),
        Decimal("0.27"),
    )
    assert (night.price_id, day.price_id) == (
        "genai-prices:deepseek/deepseek-chat",
        "genai-prices:deepseek/deepseek-chat@T00:30",
    )


def test_the_day_chooses_the_price_and_is_part_of_its_id() -> None:
    price = catalogue_price("o3", "openai")
    assert price is not None
    before, since = (price.at(datetime(2025, 6, day, 12, tzinfo=UTC)) for day in (9, 10))
    assert (before.usd_per_million_input, since.usd_per_million_input) == (Decimal(10), Decimal(2))
    assert before.price_id == "genai-prices:openai/o3"
    assert since.price_id == price.price_id == "genai-prices:openai/o3@2025-06-10"


_LISTED = [pair for owner in get_snapshot().providers for pair in entries_of(owner.id)]
_CONTEXTS: dict[str | None, dict[str, str]] = {
    None: {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}


@settings(max_examples=300, deadline=None)
@given(
    listed=st.sampled_from(_LISTED),
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),
    prompt=st.integers(0, 1_000_000),
    completion=st.integers(0, 100_000),
    tier=st.sampled_from(list(_CONTEXTS)),
)
def test_every_listed_price_is_what_the_catalogue_itself_computes(
    listed: Any, moment: datetime, prompt: int, completion: int, tier: str | None
) -> None:
    """At any time, for any length of prompt, at any service tier."""
    price = price_of(*listed)
    assume(price is not None)
    assert price is not None
    usage = Usage(prompt, completion, service_tier=tier)
    cost = cost_of(usage, price.at(moment))
    assume(cost.usd is not None)
    rates = listed[1].get_prices(moment, _CONTEXTS[tier])
    theirs = TheirUsage(input_tokens=prompt, output_tokens=completion)
    assume("requests_kcount" not in vars(rates))
    assert cost.usd is not None
    # A cost is whole pico-USD; some listed rates have more digits, as floats once had them.
    assert abs(cost.usd - rates.calc_price(theirs)["total_price"]) <= PICO_USD / 2


@pytest.mark.parametrize(
    ("model", "provider"), [("no-such-model", "openai"), ("gpt-4o", "no-such-firm"), ("", None)]
)
def test_what_is_not_listed_has_no_price_and_no_window(model: str, provider: str | None) -> None:
    assert catalogue_price(model, provider) is None
    assert context_window(model, provider) is None


def test_context_windows_are_in_tokens() -> None:
    assert context_window("gpt-4o", "openai") == 128_000


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("http://127.0.0.1:11434/v1", None),
    ],
)
def test_the_provider_is_known_by_its_address(base_url: str, provider: str | None) -> None:
    assert provider_of(base_url) == provider


def test_importing_prices_and_ledger_loads_neither_the_catalogue_nor_a_database_library() -> None:
    code = (
        "import sys, gateway.accounting.pricing, gateway.accounting.catalogue, "
        "gateway.accounting.ledger\n"
        "print(sorted({'genai_prices', 'sqlalchemy', 'alembic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
