"""What the same traffic would have cost elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Unpack, get_args

import sqlalchemy as sa

from gateway.accounting.database import PICO_A_MICRO, SPECIAL_TOKENS, ledger
from gateway.accounting.filters import Filters, row_conditions
from gateway.accounting.pricing import amount_of, usd_of
from gateway.accounting.query import LedgerReader
from gateway.accounting.row import usage_in
from gateway.core.deployment import Tier
from gateway.core.price import Price
from gateway.core.request import ROUTED_ENDPOINTS

Scenario = Literal["all-large", "all-small"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)


@dataclass(slots=True, frozen=True)
class WhatIf:
    """What the same requests cost, and would have cost on one tier alone.

    `usd` is None when nothing could be priced; `unknown` counts the answered requests that it
    leaves out. `actual_usd` is what all attempts cost, `unpriced` the attempts that it leaves out.
    """

    kind: Scenario
    requests: int
    usd: Decimal | None
    unknown: int
    actual_usd: Decimal | None
    unpriced: int

    @property
    def saved_share(self) -> float | None:
        """The part of `usd` that was saved; None unless both amounts are whole and above 0."""
        if not self.usd or self.actual_usd is None or self.unknown or self.unpriced:
            return None
        return float(1 - self.actual_usd / self.usd)


def what_if(
    reader: LedgerReader, kind: Scenario, price: Price | None, **filters: Unpack[Filters]
) -> WhatIf:
    """What the same requests would have cost on one tier alone, at a price of that tier.

    Each request counts once, with the tokens of its last attempt. With rates per token every
    request is priced anew; otherwise those that this tier answered keep their cost and the
    others stay unknown.
    """
    with reader.connection() as connection:
        if connection is None:
            return WhatIf(kind, 0, None, 0, None, 0)
        spent = connection.execute(_spent(filters)).one()
        answered = connection.execute(_answering_attempts(filters)).all()
    tier = Tier.LARGE if kind == "all-large" else Tier.SMALL
    usd, known = _repriced(answered, tier, price)
    return WhatIf(
        kind=kind,
        requests=sum(part.requests for part in answered),
        usd=usd,
        unknown=sum(part.answered for part in answered) - known,
        actual_usd=_usd(spent) if spent.priced else None,
        unpriced=int(spent.unpriced or 0),
    )


def _routed_conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    return [*row_conditions(filters), ledger.c.endpoint.in_(ROUTED_ENDPOINTS)]


def _spent(filters: Filters) -> sa.Select[Any]:
    row = ledger.c
    unpriced = sa.and_(row.cost_pico.is_(None), row.prompt_tokens.is_not(None))
    return sa.select(
        sa.func.count(row.cost_pico).label("priced"),
        sa.func.sum(sa.case((unpriced, 1), else_=0)).label("unpriced"),
        *_cost_sums(),
    ).where(*_routed_conditions(filters))


def _cost_sums() -> list[sa.ColumnElement[Any]]:
    """A cost is summed in two parts, so that no sum overflows 64 bits."""
    cost = ledger.c.cost_pico
    return [
        sa.func.sum(cost // PICO_A_MICRO).label("cost_micro"),
        sa.func.sum(cost % PICO_A_MICRO).label("cost_pico_rest"),
    ]


def _usd(sums: sa.Row[Any]) -> Decimal:
    return usd_of(int(sums.cost_micro or 0) * PICO_A_MICRO + int(sums.cost_pico_rest or 0))


def _answering_attempts(filters: Filters) -> sa.Select[Any]:
    """By tier, the sums of the last attempt of each request that either tier could answer."""
    conditions = _routed_conditions(filters)
    last = (
        sa.select(ledger.c.request_id, sa.func.max(ledger.c.attempt).label("attempt"))
        .where(*conditions)
        .group_by(ledger.c.request_id)
        .subquery()
    )
    same = sa.and_(ledger.c.request_id == last.c.request_id, ledger.c.attempt == last.c.attempt)
    row = ledger.c
    return (
        sa.select(
            row.tier,
            sa.func.count().label("requests"),
            sa.func.count(row.prompt_tokens).label("answered"),
            sa.func.sum(row.prompt_tokens).label("prompt_tokens"),
            sa.func.sum(row.completion_tokens).label("completion_tokens"),
            *(sa.func.sum(row[name]).label(name) for name in SPECIAL_TOKENS),
            sa.func.count(row.cost_pico).label("priced"),
            *_cost_sums(),
        )
        .join(last, same)
        .group_by(row.tier)
    )


def _repriced(
    answered: Sequence[sa.Row[Any]], tier: Tier, price: Price | None
) -> tuple[Decimal | None, int]:
    """The cost of all requests on one tier, and how many of them it covers."""
    usd, known = Decimal(0), 0
    for part in answered:
        usage = usage_in(part)
        anew = None if price is None else amount_of(usage, price)
        if anew is not None:
            usd, known = usd + anew, known + part.answered
        elif part.tier == tier:
            usd, known = usd + _usd(part), known + part.priced
    return (usd if known else None), known
