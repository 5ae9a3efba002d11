"""The ledger's read side: rows, summaries, and what the same traffic would have cost elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Unpack, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from gateway.accounting.database import (
    PICO_A_MICRO,
    SPECIAL_TOKENS,
    driver_reason,
    ledger,
    open_for_reading,
)
from gateway.accounting.filters import Filters, row_conditions
from gateway.accounting.newest import newest
from gateway.accounting.pricing import amount_of, usd_of
from gateway.accounting.row import shown, usage_in
from gateway.accounting.summary import row_sums, sums_by
from gateway.accounting.sums import Sums
from gateway.core.deployment import Tier
from gateway.core.errors import LedgerUnavailable
from gateway.core.price import Price
from gateway.core.request import ROUTED_ENDPOINTS

Grouping = Literal["model", "tier", "key", "tag", "day"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
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


class LedgerReader:
    """Reads a ledger without ever creating one: a missing database is an empty ledger.

    Every method raises LedgerUnavailable when the database can't be read.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None

    def rows(self, *, limit: int | None = 100, **filters: Unpack[Filters]) -> list[dict[str, Any]]:
        """The newest rows first, as dicts in the order of `COLUMNS`; no limit when it is None."""
        return [row for batch in self.batches(limit=limit, **filters) for row in batch]

    def batches(
        self, *, limit: int | None = None, size: int = 2000, **filters: Unpack[Filters]
    ) -> Iterator[list[dict[str, Any]]]:
        """The same rows, `size` at a time, so that a million of them take little memory.

        Each batch is a query of its own: nothing stays locked while one is made use of.
        """
        last: sa.Row[Any] | None = None
        while limit is None or limit > 0:
            most = size if limit is None else min(size, limit)
            with self.connection() as connection:
                found = [] if connection is None else newest(connection, filters, most, last)
            if found:
                yield [shown(row._asdict()) for row in found]
            if len(found) < most:
                return
            last = found[-1]
            limit = None if limit is None else limit - most

    def count(self, **filters: Unpack[Filters]) -> int:
        """About how many rows `batches` gives without a limit, from the totals where they serve.

        Totals also count rows that are deleted.
        """
        return sum(group["calls"] for group in self.summary("day", **filters))

    def summary(self, by: str, **filters: Unpack[Filters]) -> list[dict[str, Any]]:
        """Calls, tokens, cost and energy a group: `{by, calls, prompt_tokens, …, cost_usd, …}`.

        Days come in order, other groups the dearest first. `cost_usd` is None where no call was
        priced; `unpriced` counts the calls that used tokens without a price; `energy_wh` and
        `co2_g` are None where nobody knows them. With by="tag" a row counts under each of its
        tags; of a name with very many values a day the later ones are summed as `NAME=(other)`.
        Whole days are read from the daily totals, so they reach further back than the rows; parts
        of days, the filters `router` and `policy`, and a tag together with a key and a model or
        tier are summed from rows. Raises ValueError for an unknown grouping.
        """
        if by not in GROUPINGS:
            raise ValueError(f"by must be one of {', '.join(GROUPINGS)}")
        with self.connection() as connection:
            sums = {} if connection is None else sums_by(connection, by, filters)
        order = _by_name if by == "day" else _dearest_first
        return [{by: name, **totals.shown()} for name, totals in sorted(sums.items(), key=order)]

    def what_if(self, kind: Scenario, price: Price | None, **filters: Unpack[Filters]) -> WhatIf:
        """What the same requests would have cost on one tier alone, at a price of that tier.

        Each request counts once, with the tokens of its last attempt. With rates per token every
        request is priced anew; otherwise those that this tier answered keep their cost and the
        others stay unknown.
        """
        with self.connection() as connection:
            if connection is None:
                return WhatIf(kind, 0, None, 0, None, 0)
            actual = Sums()
            spent = sa.select(*row_sums()).where(*_routed_conditions(filters))
            actual.add(connection.execute(spent).one())
            answered = connection.execute(_answering_attempts(filters)).all()
        tier = Tier.LARGE if kind == "all-large" else Tier.SMALL
        usd, known = _repriced(answered, tier, price)
        return WhatIf(
            kind=kind,
            requests=sum(part.requests for part in answered),
            usd=usd,
            unknown=sum(part.answered for part in answered) - known,
            actual_usd=actual.usd,
            unpriced=actual.unpriced,
        )

    @contextmanager
    def connection(self) -> Iterator[Connection | None]:
        """A connection for other readers of the same database; None where there is no ledger."""
        if self._engine is None:
            try:
                self._engine = open_for_reading(self._url)
            except (ValueError, ImportError, sa.exc.SQLAlchemyError) as error:
                raise _unreadable(error) from error
        if self._engine is None:
            yield None
            return
        try:
            with self._engine.connect() as connection:
                exists = sa.inspect(connection).has_table(ledger.name)
                yield connection if exists else None
        except sa.exc.SQLAlchemyError as error:
            raise _unreadable(error) from error


def _unreadable(error: Exception) -> LedgerUnavailable:
    return LedgerUnavailable(f"The ledger can't be read: {driver_reason(error)}.")


def _routed_conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    return [*row_conditions(filters), ledger.c.endpoint.in_(ROUTED_ENDPOINTS)]


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
            sa.func.sum(row.cost_pico // PICO_A_MICRO).label("cost_micro"),
            sa.func.sum(row.cost_pico % PICO_A_MICRO).label("cost_pico_rest"),
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
            pico = int(part.cost_micro or 0) * PICO_A_MICRO + int(part.cost_pico_rest or 0)
            usd, known = usd + usd_of(pico), known + part.priced
    return (usd if known else None), known


def _by_name(item: tuple[str | None, Sums]) -> str:
    return item[0] or ""


def _dearest_first(item: tuple[str | None, Sums]) -> tuple[Decimal, int, str]:
    return (-(item[1].usd or Decimal(0)), -item[1].calls, item[0] or "")
