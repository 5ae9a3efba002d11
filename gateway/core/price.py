"""Rates and amounts of money, in exact decimals of US dollars."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

CostSource = Literal["provider", "computed", "unpriced"]

#: The smallest amount that the ledger stores: one millionth of a microdollar.
PICO_USD = Decimal("1e-12")


@dataclass(slots=True, frozen=True)
class Price:
    """What a model charges: USD per million tokens (or characters) and per hour of audio.

    Or USD per hour of compute time alone (`usd_per_hour`). Electricity comes on top where it has
    a rate (`usd_per_kwh`).

    `price_id` says where the figure comes from, for example `config:gpt-4o` or
    `genai-prices:openai/gpt-4o@2024-10-02`. A rate of special tokens that is None is that of the
    others on their side; what a cache keeps for an hour costs at least what it keeps for less.
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


@dataclass(slots=True, frozen=True)
class Cost:
    """An amount for one call. `usd` is None, never 0, when the call is unpriced."""

    usd: Decimal | None
    source: CostSource
    price_id: str | None = None


UNPRICED = Cost(usd=None, source="unpriced")
