"""The price catalogue: published rates and context windows, from the `genai-prices` package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gateway.core.price import Price, PricePeriod, PromptTier, longer

if TYPE_CHECKING:  # importing it takes 0.3 s
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

#: The catalogue's unit → our rate. Two units that mean the same: the first that has a rate counts.
_UNITS = (
    ("input_mtok", "usd_per_million_input"),
    ("output_mtok", "usd_per_million_output"),
    ("cache_read_mtok", "usd_per_million_cached_input"),
    ("cache_write_mtok", "usd_per_million_cache_write"),
    ("cache_write_1h_mtok", "usd_per_million_cache_write_1h"),
    ("input_audio_mtok", "usd_per_million_audio_input"),
    ("input_image_mtok", "usd_per_million_image_input"),
    ("output_audio_mtok", "usd_per_million_audio_output"),
    ("output_image_mtok", "usd_per_million_image_output"),
    ("output_reasoning_mtok", "usd_per_million_reasoning"),
    ("input_mchars", "usd_per_million_characters"),
    ("input_audio_hours", "usd_per_audio_hour"),
    ("audio_hours", "usd_per_audio_hour"),
    ("web_searches_kcount", "usd_per_thousand_searches"),
)

_LONG_AGO = date(1970, 1, 1)
_MIDNIGHT = time()

#: What the catalogue asks of a request → the service tier that answers are said to have.
_SERVICE = {("processing", "batch"): "batch", ("speed", "fast"): "fast"}


def catalogue_price(model: str, provider: str | None) -> Price | None:
    """The published rates of a model, those of now and by `at` of any time; None if not listed.

    Without a provider the model's name decides whose price it is, so pass None only when the
    model is known to run at its maker. Charges for requests and for anything else that no usage
    tells of are left out.
    """
    found = _find(model, provider)
    return None if found is None else price_of(*found)


def price_of(provider: Provider, info: ModelInfo) -> Price | None:
    """The rates of one of the catalogue's entries; None where it has none that a usage can have."""
    schedule = tuple(_periods(f"genai-prices:{provider.id}/{info.id}", info))
    prices = [price for period in schedule for _, price in period.prices]
    if not any(price.has_rates for price in prices):
        return None
    if len(prices) == 1:
        return prices[0]
    timeless = replace(prices[0], schedule=schedule)
    return replace(timeless.at(datetime.now(UTC)), schedule=schedule)


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


def entries_of(provider: str) -> Iterator[tuple[Provider, ModelInfo]]:
    """Everything that the catalogue lists of a provider."""
    from genai_prices.data_snapshot import get_snapshot

    owner = get_snapshot().find_provider(None, provider, None)
    return ((owner, info) for info in owner.models)


def catalogue_version() -> str:
    """The release of the catalogue: how new its prices are at best."""
    from importlib.metadata import version

    return f"genai-prices {version('genai-prices')}"


def _find(model: str, provider: str | None) -> tuple[Provider, ModelInfo] | None:
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None


def _periods(price_id: str, info: ModelInfo) -> Iterator[PricePeriod]:
    """The entry at each time from which something in it changes."""
    days, hours = _boundaries(info)
    before: tuple[tuple[time, Price], ...] = ()
    for day in days:
        since = "" if day == _LONG_AGO else str(day)
        prices: list[tuple[time, Price]] = []
        for hour in hours:
            begins = since if hour == _MIDNIGHT else f"{since}T{hour:%H:%M}"
            entry = f"{price_id}@{begins}" if begins else price_id
            price = _at(entry, info, datetime.combine(day, hour, UTC))
            price = _kept(price, [one for _, one in (*prices, *before)])
            if not prices or prices[-1][1] != price:
                prices.append((hour, price))
        if tuple(prices) != before:
            before = tuple(prices)
            yield PricePeriod(day, before)


def _boundaries(info: ModelInfo) -> tuple[list[date], list[time]]:
    """The days and times of day (UTC) at which a price of the entry may begin or end."""
    from genai_prices.types import ModelPrice, StartDateConstraint, TimeOfDateConstraint

    standard = [] if isinstance(info.prices, ModelPrice) else info.prices
    constraints = [one.constraint for one in (*standard, *(info.price_variants or ()))]
    days = {one.start_date for one in constraints if isinstance(one, StartDateConstraint)}
    windows = [one for one in constraints if isinstance(one, TimeOfDateConstraint)]
    hours = {_in_utc(end) for one in windows for end in (one.start_time, one.end_time)}
    return sorted({_LONG_AGO, *days}), sorted({_MIDNIGHT, *hours})


def _in_utc(hour: time) -> time:
    if hour.tzinfo is None:
        return hour
    return datetime.combine(_LONG_AGO, hour).astimezone(UTC).time()


def _at(price_id: str, info: ModelInfo, moment: datetime) -> Price:
    services: dict[str, Price] = {}
    for context, name in _contexts(info, moment):
        services.setdefault(name, _tiered(f"{price_id}+{name}", info.get_prices(moment, context)))
    standard = _tiered(price_id, info.get_prices(moment))
    return replace(standard, service_tiers=tuple(services.items()))


def _contexts(info: ModelInfo, moment: datetime) -> Iterator[tuple[Mapping[str, str], str]]:
    """The service tiers that have rates of their own then."""
    for variant in info.price_variants or ():
        (asked, *others) = variant.when.items()
        name = asked[1] if asked[0] == "service_tier" else _SERVICE.get(asked)
        is_active = variant.constraint is None or variant.constraint.active(moment)
        has_rates = any(rate is not None for rate in vars(variant.prices).values())
        if name is not None and not others and is_active and has_rates:
            yield variant.when, name


def _tiered(price_id: str, rates: ModelPrice) -> Price:
    """Rates at every length of prompt."""
    tiered = [rate for name, _ in _UNITS if (rate := getattr(getattr(rates, name), "tiers", None))]
    starts = sorted({tier.start for tiers in tiered for tier in tiers})
    base = Price(price_id, **_rates(rates, 0))
    tiers = []
    for start in starts:
        tier = PromptTier(start, base)
        price = Price(longer(price_id, tier), **_rates(rates, start + 1))
        tiers.append(replace(tier, price=price))
    return replace(base, tiers=tuple(tiers))


def _rates(rates: ModelPrice, prompt_tokens: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for unit, name in _UNITS:
        rate = _rate(getattr(rates, unit), prompt_tokens)
        if rate is not None:
            found.setdefault(name, rate)
    return found


def _rate(rate: Decimal | TieredPrices | None, prompt_tokens: int) -> Decimal | None:
    if rate is None or isinstance(rate, Decimal):
        return rate
    reached = [tier.price for tier in rate.tiers if prompt_tokens > tier.start]
    return reached[-1] if reached else rate.base


def _same(one: Price, other: Price) -> bool:
    """Whether two prices are the same for standard service, whatever they are called."""
    tiers = [
        [(tier.above_tokens, tier.price.rates()) for tier in each.tiers] for each in (one, other)
    ]
    return one.rates() == other.rates() and tiers[0] == tiers[1]


def _kept(price: Price, before: Sequence[Price]) -> Price:
    """The price under the ids that it had before, as far as it hasn't changed."""
    earlier = next((one for one in before if _same(one, price)), None)
    if earlier is None:
        return price
    known = dict(earlier.service_tiers)
    services = tuple(
        (name, known[name] if name in known and _same(known[name], one) else one)
        for name, one in price.service_tiers
    )
    return replace(earlier, service_tiers=services)
