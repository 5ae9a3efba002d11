"""Rates and amounts of money, in exact decimals of US dollars."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Literal

CostSource = Literal["provider", "computed", "unpriced"]

#: The smallest amount that the ledger stores: one millionth of a microdollar.
PICO_USD = Decimal("1e-12")

#: What upstreams call the service that costs what a price itself says.
STANDARD_SERVICE = frozenset({"auto", "default", "on_demand", "standard", "standard_only"})


@dataclass(slots=True, frozen=True)
class Price:
    """What a model charges: USD per million tokens (or characters) and per hour of audio.

    Or USD per hour of compute time alone (`usd_per_hour`). Electricity comes on top where it has
    a rate (`usd_per_kwh`).

    `price_id` says where the figure comes from, for example `config:gpt-4o` or
    `genai-prices:openai/o3@2025-06-10+flex>200000`: the catalogue's entry, since when it holds,
    the service tier and the length of prompts. A rate of special tokens that is None is that of
    the others on their side; what a cache keeps for an hour costs at least what it keeps for less.

    Longer prompts may have `tiers` (rising), other service tiers prices of their own, and the rates
    may change by day or by hour: `schedule` (rising) then holds the price of every time, these ones
    among them.
    """

    price_id: str
    usd_per_million_input: Decimal | None = None
    usd_per_million_output: Decimal | None = None
    usd_per_million_cached_input: Decimal | None = None
    usd_per_million_cache_write: Decimal | None = None
    usd_per_million_cache_write_1h: Decimal | None = None
    usd_per_million_audio_input: Decimal | None = None
    usd_per_million_image_input: Decimal | None = None
    usd_per_million_audio_output: Decimal | None = None
    usd_per_million_image_output: Decimal | None = None
    usd_per_million_characters: Decimal | None = None
    usd_per_audio_hour: Decimal | None = None
    usd_per_hour: Decimal | None = None
    usd_per_kwh: Decimal | None = None
    usd_per_million_reasoning: Decimal | None = None
    usd_per_thousand_searches: Decimal | None = None
    _: KW_ONLY
    tiers: tuple[PromptTier, ...] = ()
    service_tiers: tuple[tuple[str, Price], ...] = ()
    schedule: tuple[PricePeriod, ...] = ()

    def at(self, moment: datetime) -> Price:
        """The price in force at a moment; before the first known period that period's."""
        if not self.schedule:
            return self
        if moment.tzinfo is not UTC:
            moment = moment.astimezone(UTC)
        day, hour = moment.date(), moment.time()
        period = self.schedule[0]
        for later in self.schedule[1:]:
            if later.since > day:
                break
            period = later
        return next(price for begins, price in reversed(period.prices) if begins <= hour)

    def for_service(self, service_tier: str | None) -> Price | None:
        """The price of a service tier as the upstream names it; None where it isn't known."""
        if service_tier is None or service_tier in STANDARD_SERVICE:
            return self
        return next((price for name, price in self.service_tiers if name == service_tier), None)

    def for_prompt(self, tokens: int) -> Price:
        """The price of a whole call whose prompt is so long."""
        found = self
        for tier in self.tiers:
            if tokens <= tier.above_tokens:
                break
            found = tier.price
        return found

    def scaled(self, factor: Decimal, price_id: str) -> Price:
        """The same rates times a factor, for prompts of every length; electricity stays."""
        rates: dict[str, Any] = {
            name: None if rate is None else rate * factor
            for name, rate in self.rates()
            if name != "usd_per_kwh"
        }
        tiers = tuple(
            PromptTier(tier.above_tokens, tier.price.scaled(factor, longer(price_id, tier)))
            for tier in self.tiers
        )
        return replace(self, price_id=price_id, tiers=tiers, service_tiers=(), **rates)

    def rates(self) -> list[tuple[str, Decimal | None]]:
        """The rates by their names."""
        return [(name, getattr(self, name)) for name in RATES]

    @property
    def has_rates(self) -> bool:
        """Whether there is anything that it could price."""
        return any(rate is not None for _, rate in self.rates())


@dataclass(slots=True, frozen=True)
class PromptTier:
    """The price of calls whose prompt has more than so many tokens: of the whole call."""

    above_tokens: int
    price: Price


@dataclass(slots=True, frozen=True)
class PricePeriod:
    """From a day on, the prices by the time of day at which they begin; UTC, the first at 0:00."""

    since: date
    prices: tuple[tuple[time, Price], ...]


#: The names of the rates that the owner of a model sets; electricity is another's.
RATES = tuple(
    field.name
    for field in fields(Price)
    if field.name.startswith("usd_") and field.name != "usd_per_kwh"
)


def longer(price_id: str, tier: PromptTier) -> str:
    """The id of a price for the prompts of a tier."""
    return f"{price_id}>{tier.above_tokens}"


@dataclass(slots=True, frozen=True)
class Cost:
    """An amount for one call. `usd` is None, never 0, when the call is unpriced."""

    usd: Decimal | None
    source: CostSource
    price_id: str | None = None


UNPRICED = Cost(usd=None, source="unpriced")
