"""The catalogue's real data: rates, windows, dates, and what it doesn't know."""

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Usage as TheirUsage

from gateway.accounting.catalogue import catalogue_price, context_window, provider_of
from gateway.accounting.pricing import cost_of
from gateway.core.price import Price
from gateway.core.usage import Usage


def test_a_known_model_has_its_published_rates() -> None:
    assert catalogue_price("gpt-4o", "openai") == Price(
        price_id="genai-prices:openai/gpt-4o",
        usd_per_million_input=Decimal("2.5"),
        usd_per_million_output=Decimal(10),
        usd_per_million_cached_input=Decimal("1.25"),
    )


def test_a_tiered_price_gives_its_base_tier() -> None:
    price = catalogue_price("claude-sonnet-4-5", "anthropic")
    assert price is not None
    assert (price.usd_per_million_input, price.usd_per_million_output) == (Decimal(3), Decimal(15))
    assert price.usd_per_million_cached_input == Decimal("0.3")
    assert price.usd_per_million_cache_write == Decimal("3.75")
    assert price.usd_per_million_cache_write_1h == Decimal(6)


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


def test_a_date_selects_the_price_of_that_day() -> None:
    night, day = datetime(2025, 3, 1, 20, tzinfo=UTC), datetime(2025, 3, 1, 12, tzinfo=UTC)
    prices = [catalogue_price("deepseek-chat", "deepseek", at) for at in (night, day)]
    read = [price.usd_per_million_input for price in prices if price is not None]
    assert len(read) == 2
    assert read[0] != read[1]
    assert catalogue_price("gpt-4o", "openai", date(2025, 1, 1)) is not None


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
