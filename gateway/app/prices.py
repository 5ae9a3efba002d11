"""The prices of the configuration as values."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time
from decimal import Decimal
from typing import Any

from gateway.core.price import Price, PricePeriod, PromptTier, longer
from gateway.settings.price import HoursSettings, PriceSettings, RateSettings, TieredRateSettings

#: A configured price holds at any time.
_ALWAYS = date(1970, 1, 1)


def configured_price(
    name: str, settings: PriceSettings | None, usd_per_kwh: Decimal | None = None
) -> Price | None:
    """The price of the deployment of that name; None where the configuration has none.

    Electricity at `usd_per_kwh` comes on top, unless the price includes it.
    """
    if settings is None:
        return None
    electricity = None if settings.includes_electricity else usd_per_kwh
    bare = Price(f"config:{name}", usd_per_hour=settings.usd_per_hour, usd_per_kwh=electricity)
    if settings.usd_per_hour is not None:
        return bare
    usual = _tiered(bare, settings)
    if not settings.hours:
        return _with_services(usual, settings)
    by_time = tuple(
        (begins, _with_services(_at(usual, settings, begins), settings))
        for begins in sorted({time(), *_bounds(settings)})
    )
    return replace(by_time[0][1], schedule=(PricePeriod(_ALWAYS, by_time),))


def _bounds(settings: PriceSettings) -> list[time]:
    return [bound for hours in settings.hours for bound in (hours.begins, hours.ends)]


def _at(usual: Price, settings: PriceSettings, moment: time) -> Price:
    """The rates at a time of day: the last of the parts that it lies in, else the usual ones."""
    for hours in reversed(settings.hours):
        if _covers(hours, moment):
            price_id = f"{usual.price_id}@T{hours.begins:%H:%M}"
            if hours.factor is not None:
                return usual.scaled(hours.factor, price_id)
            return _tiered(replace(usual, price_id=price_id), hours)
    return usual


def _covers(hours: HoursSettings, moment: time) -> bool:
    if hours.begins < hours.ends:
        return hours.begins <= moment < hours.ends
    return moment >= hours.begins or moment < hours.ends


def _with_services(price: Price, settings: PriceSettings) -> Price:
    services = []
    for name, asked in settings.service_tiers.items():
        price_id = f"{price.price_id}+{name}"
        if isinstance(asked, Decimal):
            services.append((name, price.scaled(asked, price_id)))
        else:
            services.append((name, _tiered(replace(price, price_id=price_id), asked)))
    return replace(price, service_tiers=tuple(services))


def _tiered(under: Price, settings: TieredRateSettings) -> Price:
    """The rates over those of `under`, and what they are for longer prompts."""
    base = replace(under, tiers=(), **_rates(settings))
    tiers: list[PromptTier] = []
    below = base
    for asked in settings.tiers:
        tier = PromptTier(asked.above_tokens, below)
        below = replace(below, price_id=longer(base.price_id, tier), **_rates(asked))
        tiers.append(replace(tier, price=below))
    return replace(base, tiers=tuple(tiers))


#: Our rate → the configuration's key.
_KEYS = {
    "usd_per_million_input": "input",
    "usd_per_million_cached_input": "cached_input",
    "usd_per_million_cache_write": "cache_write",
    "usd_per_million_cache_write_1h": "cache_write_1h",
    "usd_per_million_audio_input": "audio_input",
    "usd_per_million_image_input": "image_input",
    "usd_per_million_output": "output",
    "usd_per_million_reasoning": "reasoning",
    "usd_per_million_audio_output": "audio_output",
    "usd_per_million_image_output": "image_output",
    "usd_per_thousand_searches": "searches",
}


def _rates(settings: RateSettings) -> dict[str, Any]:
    given = {name: getattr(settings, key) for name, key in _KEYS.items()}
    return {name: rate for name, rate in given.items() if rate is not None}
