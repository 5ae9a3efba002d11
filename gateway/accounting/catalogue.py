"""The price catalogue: published rates and context windows, from the `genai-prices` package."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING

from gateway.core.price import Price

if TYPE_CHECKING:  # importing it takes 0.3 s
    from genai_prices.types import ModelInfo, Provider


def catalogue_price(model: str, provider: str | None, at: date | None = None) -> Price | None:
    """The published rates of a model at a date (default now), None when it isn't listed.

    Without a provider the model's name decides whose price it is, so pass None only when the
    model is known to run at its maker. Rates are flat: of a price in tiers of prompt length the
    base tier is taken, of one that varies by hour the one at `at`; charges for searches and
    requests are left out.
    """
    found = _find(model, provider)
    if found is None:
        return None
    owner, info = found
    rates = info.get_prices(_instant(at))
    price = Price(
        price_id=f"genai-prices:{owner.id}/{info.id}",
        usd_per_million_input=_rate(rates, "input_mtok"),
        usd_per_million_output=_rate(rates, "output_mtok"),
        usd_per_million_cached_input=_rate(rates, "cache_read_mtok"),
        usd_per_million_cache_write=_rate(rates, "cache_write_mtok"),
        usd_per_million_cache_write_1h=_rate(rates, "cache_write_1h_mtok"),
        usd_per_million_audio_input=_rate(rates, "input_audio_mtok"),
        usd_per_million_image_input=_rate(rates, "input_image_mtok"),
        usd_per_million_audio_output=_rate(rates, "output_audio_mtok"),
        usd_per_million_image_output=_rate(rates, "output_image_mtok"),
        usd_per_million_characters=_rate(rates, "input_mchars"),
        usd_per_audio_hour=_rate(rates, "input_audio_hours") or _rate(rates, "audio_hours"),
    )
    return None if price == Price(price.price_id) else price


def context_window(model: str, provider: str | None) -> int | None:
    """The model's context window in tokens, None when the catalogue doesn't know it."""
    found = _find(model, provider)
    return None if found is None else found[1].context_window


def provider_of(base_url: str) -> str | None:
    """The catalogue's name for whoever answers at a base URL; None for self-hosted upstreams."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider(None, None, base_url).id
    except LookupError:
        return None


def _find(model: str, provider: str | None) -> tuple[Provider, ModelInfo] | None:
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None


def _instant(at: date | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    return at if isinstance(at, datetime) else datetime.combine(at, time(), UTC)


def _rate(rates: object, name: str) -> Decimal | None:
    rate = getattr(rates, name, None)
    rate = getattr(rate, "base", rate)
    return rate if isinstance(rate, Decimal) else None
