"""What the same traffic would have cost elsewhere, and what routing saved.

A request that the other tier wouldn't change costs what it cost. One that moves costs its tokens,
by as much more or fewer as the other tier's model makes of them, at the price in force then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from gateway.accounting.filters import Filters
from gateway.accounting.pricing import usd_of
from gateway.accounting.query import LedgerReader
from gateway.accounting.scenario import ASSUMED, Books, Ratio, Resamples
from gateway.accounting.traffic import pairs_of, parts_of
from gateway.core.deployment import Tier
from gateway.core.price import Price

Scenario = Literal["all-large", "all-small", "random"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)

_MS_AN_HOUR = 3_600_000

Floats = NDArray[np.float64]


@dataclass(slots=True, frozen=True)
class Interval:
    """Where an amount of USD lies on traffic like this, at 95 %."""

    low: Decimal
    high: Decimal


@dataclass(slots=True, frozen=True)
class WhatIf:
    """What the same requests cost, and would have cost on one tier alone or by chance.

    `usd` is None when nothing could be priced; `unknown` counts the answered requests that it
    leaves out. `actual_usd` is what all attempts cost, `unpriced` the attempts that it leaves out;
    `router_usd` is what deciding cost, None where nobody said what the machine costs. `saved_usd`
    is `usd` without both, None unless all of it is known. The intervals are None where there is too
    little traffic for any.

    Of the `routed` requests `large_share` were answered by the large tier; `shortfall` is the share
    of them whose answer the router's own scores expect to fall short of the large tier's in this
    scenario, `actual_shortfall` as it was.
    """

    kind: Scenario
    requests: int
    usd: Decimal | None
    unknown: int
    actual_usd: Decimal | None
    unpriced: int
    router_usd: Decimal | None = None
    interval: Interval | None = None
    saved_interval: Interval | None = None
    routed: int = 0
    large_share: float | None = None
    shortfall: float | None = None
    actual_shortfall: float | None = None
    prompt_ratio: Ratio = ASSUMED
    answer_ratio: Ratio = ASSUMED

    @property
    def saved_usd(self) -> Decimal | None:
        """What was saved; None unless both amounts are whole."""
        if self.usd is None or self.actual_usd is None or self.unknown or self.unpriced:
            return None
        return self.usd - self.actual_usd - (self.router_usd or 0)

    @property
    def saved_share(self) -> float | None:
        """The part of `usd` that was saved; None unless both amounts are whole and above 0."""
        return float(self.saved_usd / self.usd) if self.usd and self.saved_usd is not None else None


def what_if(
    reader: LedgerReader,
    kind: Scenario,
    prices: Mapping[Tier, Price | None],
    usd_per_hour: Decimal | None = None,
    **filters: Unpack[Filters],
) -> WhatIf:
    """One scenario, at each tier's price; `usd_per_hour` is what the routing machine costs.

    Raises LedgerUnavailable when the database can't be read.
    """
    return what_ifs(reader, (kind,), prices, usd_per_hour, **filters)[0]


def what_ifs(
    reader: LedgerReader,
    kinds: tuple[Scenario, ...],
    prices: Mapping[Tier, Price | None],
    usd_per_hour: Decimal | None = None,
    **filters: Unpack[Filters],
) -> list[WhatIf]:
    """Several scenarios over one reading of the ledger."""
    pairs = pairs_of(reader, **filters)
    prompt_ratio = Ratio.of_pairs(pairs)
    grown = {Tier.LARGE: prompt_ratio.value, Tier.SMALL: 1 / prompt_ratio.value}
    parts = parts_of(reader, dict(prices), grown, **filters)
    books = Books(parts, pairs)
    resamples = books.resamples()
    return [_weighed(books, kind, resamples, usd_per_hour) for kind in kinds]


def _weighed(
    books: Books, kind: Scenario, resamples: Resamples | None, usd_per_hour: Decimal | None
) -> WhatIf:
    amounts = books.amounts(kind)
    ratios = (books.prompt_ratio.value, books.answer_ratio.value)
    router = None if usd_per_hour is None else _router_usd(books.overhead_ms, usd_per_hour)
    found = WhatIf(
        kind=kind,
        requests=books.requests,
        usd=usd_of(amounts.pico(*ratios)) if amounts.known else None,
        unknown=amounts.unknown,
        actual_usd=usd_of(sum(books.spent)) if books.priced else None,
        unpriced=books.unpriced,
        router_usd=router,
        routed=books.routed,
        large_share=books.large_share,
        shortfall=books.shortfall(kind),
        actual_shortfall=books.actual_shortfall,
        prompt_ratio=books.prompt_ratio,
        answer_ratio=books.answer_ratio,
    )
    if resamples is None or found.usd is None:
        return found
    totals = resamples.totals(amounts)
    spent = resamples.spent + float(router or 0) * 1e12 * resamples.overhead_share
    saved = None if found.saved_usd is None else _interval(totals - spent)
    return replace(found, interval=_interval(totals), saved_interval=saved)


def _router_usd(overhead_ms: float, usd_per_hour: Decimal) -> Decimal:
    spent = Decimal(repr(round(overhead_ms, 3))) * usd_per_hour / _MS_AN_HOUR
    return spent.quantize(Decimal("1e-12"))


def _interval(pico: Floats) -> Interval:
    """The middle 95 %, to the pico-USD that the ledger counts in."""
    low, high = np.quantile(pico, [0.025, 0.975])
    return Interval(usd_of(round(float(low))), usd_of(round(float(high))))
