"""What the ledger's rows would cost at other prices than they were booked at; nothing is written.

A row is priced again by its own usage. Rows at a price by the hour, or of characters and sound,
keep what they cost: how long they computed, and how much was said, isn't in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Unpack

import sqlalchemy as sa

from gateway.accounting.catalogue import catalogue_price
from gateway.accounting.database import SPECIAL_TOKENS, ledger
from gateway.accounting.filters import Filters, row_conditions
from gateway.accounting.pricing import amount_of, usd_of
from gateway.accounting.query import LedgerReader
from gateway.accounting.row import usage_in
from gateway.core.price import Price

#: Rows that are fetched at once.
_FETCHED_ROWS = 2000

_CATALOGUE = "genai-prices:"

#: The price of a deployment by its name; None where nobody has one.
DeploymentPrice = Callable[[str], Price | None]


@dataclass(slots=True)
class Repriced:
    """The rows of a deployment that were booked at one price, or not at all.

    `compared` counts those that have an amount both ways; `booked_usd` and `repriced_usd` are the
    sums over them, `differing` those of them whose amounts aren't the same. `found` counts those
    that had no price and have one now, `found_usd` is what they cost. `kept` counts those that
    can't be priced again.
    """

    deployment: str
    booked_at: str
    calls: int = 0
    compared: int = 0
    booked_usd: Decimal = Decimal(0)
    repriced_usd: Decimal = Decimal(0)
    differing: int = 0
    found: int = 0
    found_usd: Decimal = Decimal(0)
    kept: int = 0

    def add(self, booked: Decimal | None, anew: Decimal | None) -> None:
        """Count one more row."""
        self.calls += 1
        if anew is None:
            self.kept += 1
        elif booked is None:
            self.found += 1
            self.found_usd += anew
        else:
            self.compared += 1
            self.booked_usd += booked
            self.repriced_usd += anew
            self.differing += booked != anew


def reprice(
    reader: LedgerReader,
    price_of: DeploymentPrice,
    at: datetime | None = None,
    **filters: Unpack[Filters],
) -> list[Repriced]:
    """Every row that used tokens, at the price of its own time or of `at`; the dearest first.

    The price is the entry of the catalogue that the row was booked at, else the deployment's.
    Raises LedgerUnavailable when the database can't be read.
    """
    groups: dict[tuple[str, str], Repriced] = {}
    prices: dict[tuple[str, str | None], Price | None] = {}
    with reader.connection() as connection:
        if connection is None:
            return []
        rows = connection.execution_options(yield_per=_FETCHED_ROWS).execute(_rows(filters))
        for row in rows:
            key = (row.deployment, row.price_id)
            if key not in prices:
                prices[key] = _listed(row.price_id) or price_of(row.deployment)
            booked_at = row.price_id or row.cost_source
            group = groups.setdefault(
                (row.deployment, booked_at), Repriced(row.deployment, booked_at)
            )
            booked = None if row.cost_pico is None else usd_of(row.cost_pico)
            group.add(booked, _anew(row, prices[key], at))
    return sorted(groups.values(), key=_dearest_first)


def _rows(filters: Filters) -> sa.Select[Any]:
    row = ledger.c
    return sa.select(
        row.ts,
        row.deployment,
        row.price_id,
        row.cost_source,
        row.cost_pico,
        row.service_tier,
        row.prompt_tokens,
        row.completion_tokens,
        *(row[name] for name in SPECIAL_TOKENS),
    ).where(row.prompt_tokens.is_not(None), *row_conditions(filters))


def _anew(row: Any, price: Price | None, at: datetime | None) -> Decimal | None:
    if price is None:
        return None
    price = price.at(at or row.ts)
    usage = replace(usage_in(row), service_tier=row.service_tier)
    by_length = (price.usd_per_million_characters, price.usd_per_audio_hour)
    if not (usage.prompt_tokens or usage.completion_tokens) and by_length != (None, None):
        return None
    return amount_of(usage, price)


def _listed(price_id: str | None) -> Price | None:
    """The catalogue's entry of a price's id, with all that it has cost and costs."""
    if price_id is None or not price_id.startswith(_CATALOGUE):
        return None
    entry = price_id.removeprefix(_CATALOGUE)
    for mark in ">+@":
        # A model's own name may begin with one, as in @cf/…
        provider, _, model = entry.partition("/")
        entry = f"{provider}/{model[:1]}{model[1:].partition(mark)[0]}"
    provider, _, model = entry.partition("/")
    return catalogue_price(model, provider)


def _dearest_first(group: Repriced) -> tuple[Decimal, str, str]:
    return (-(group.booked_usd + group.found_usd), group.deployment, group.booked_at)


def totals(groups: Iterable[Repriced]) -> Repriced:
    """All groups as one."""
    total = Repriced("total", "")
    for group in groups:
        for name in _SUMMED:
            setattr(total, name, getattr(total, name) + getattr(group, name))
    return total


_SUMMED = tuple(name for name in Repriced.__slots__ if name not in {"deployment", "booked_at"})
