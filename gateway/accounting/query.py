"""The ledger's read side: rows, summaries, and what the same traffic would have cost elsewhere."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Literal, TypedDict, Unpack, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.accounting.database import (
    PICO_A_MICRO,
    SPECIAL_TOKENS,
    daily_totals,
    driver_reason,
    ledger,
    open_for_reading,
)
from gateway.accounting.pricing import amount_of, usd_of
from gateway.accounting.row import shown, tag_pair, tag_text, usage_in
from gateway.accounting.sums import SUM_COLUMNS, Sums
from gateway.core.deployment import Tier
from gateway.core.errors import LedgerUnavailable
from gateway.core.price import Price
from gateway.core.request import ROUTED_ENDPOINTS

Grouping = Literal["model", "tier", "key", "tag", "day"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
Scenario = Literal["all-large", "all-small"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)


class Filters(TypedDict, total=False):
    """Which rows to look at; what is left out or None doesn't restrict.

    `since` ≤ ts < `until` (dates begin at 0:00 UTC, naive times are UTC). `model` is a
    deployment's name or the model that the upstream said it served. `tag` is `key=value`;
    `router` is the version that scored a request, `policy` the one that it was routed by.
    """

    since: date | None
    until: date | None
    key: str | None
    model: str | None
    tier: str | None
    tag: str | None
    router: str | None
    policy: str | None


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

    def rows(self, *, limit: int | None = 100, **filters: Unpack[Filters]) -> list[dict[str, Any]]:
        """The newest rows first, as dicts in the order of `COLUMNS`; no limit when it is None."""
        statement = (
            sa.select(ledger)
            .where(*row_conditions(filters))
            .order_by(ledger.c.ts.desc(), ledger.c.request_id.desc(), ledger.c.attempt.desc())
            .limit(limit)
        )
        with self.connection() as connection:
            if connection is None:
                return []
            return [shown(row._asdict()) for row in connection.execute(statement)]

    def summary(self, by: str, **filters: Unpack[Filters]) -> list[dict[str, Any]]:
        """Calls, tokens and cost a group: `{by, calls, prompt_tokens, …, cost_usd, unpriced}`.

        Days come in order, other groups the dearest first. `cost_usd` is None where no call was
        priced; `unpriced` counts the calls that used tokens without a price. With by="tag" a row
        counts under each of its tags. Whole days without a tag are read from the daily totals, so
        they reach further back than the rows. Raises ValueError for an unknown grouping.
        """
        if by not in GROUPINGS:
            raise ValueError(f"by must be one of {', '.join(GROUPINGS)}")
        source = (_rows_source if _needs_rows(by, filters) else _totals_source)(by, filters)
        with self.connection() as connection:
            if connection is None:
                return []
            found = connection.execute(source).all()
        sums: dict[str | None, Sums] = defaultdict(Sums)
        for group, *parts in found:
            for name in _tag_names(group) if by == "tag" else [group or None]:
                sums[name].add(parts)
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
            spent = sa.select(*_row_sums()).where(*_routed_conditions(filters))
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
        try:
            engine = open_for_reading(self._url)
        except (ValueError, ImportError, sa.exc.SQLAlchemyError) as error:
            raise _unreadable(error) from error
        if engine is None:
            yield None
            return
        try:
            with engine.connect() as connection:
                exists = sa.inspect(connection).has_table(ledger.name)
                yield connection if exists else None
        except sa.exc.SQLAlchemyError as error:
            raise _unreadable(error) from error


def _unreadable(error: Exception) -> LedgerUnavailable:
    return LedgerUnavailable(f"The ledger can't be read: {driver_reason(error)}.")


def row_conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    """What the filters ask of the ledger's rows."""
    conditions: list[sa.ColumnElement[bool]] = []
    if (since := filters.get("since")) is not None:
        conditions.append(ledger.c.ts >= _moment(since))
    if (until := filters.get("until")) is not None:
        conditions.append(ledger.c.ts < _moment(until))
    if (tag := filters.get("tag")) is not None:
        # LIKE ignores case in SQLite, and its wildcards would need escaping.
        without = sa.func.replace(ledger.c.tags, tag_text(*tag_pair(tag)), "")
        conditions.append(without != ledger.c.tags)
    if (router := filters.get("router")) is not None:
        conditions.append(ledger.c.router_version == router)
    if (policy := filters.get("policy")) is not None:
        conditions.append(ledger.c.policy == policy)
    return conditions + _named(ledger, filters)


def _named(table: sa.Table, filters: Filters) -> list[sa.ColumnElement[bool]]:
    """The conditions that rows and daily totals share."""
    conditions: list[sa.ColumnElement[bool]] = []
    if (key := filters.get("key")) is not None:
        conditions.append(table.c.key_id == key)
    if (tier := filters.get("tier")) is not None:
        conditions.append(table.c.tier == tier)
    if (model := filters.get("model")) is not None:
        conditions.append(sa.or_(table.c.deployment == model, table.c.model_served == model))
    return conditions


def _row_sums() -> list[sa.ColumnElement[Any]]:
    """Aggregates over rows; a cost is summed in two parts, so that no sum overflows 64 bits."""
    row = ledger.c
    unpriced = sa.and_(row.cost_pico.is_(None), row.prompt_tokens.is_not(None))
    return [
        sa.func.count(),
        sa.func.sum(row.prompt_tokens),
        sa.func.sum(row.completion_tokens),
        sa.func.count(row.cost_pico),
        sa.func.sum(sa.case((unpriced, 1), else_=0)),
        sa.func.sum(row.cost_pico // PICO_A_MICRO),
        sa.func.sum(row.cost_pico % PICO_A_MICRO),
        sa.func.sum(row.energy_wh),
        sa.func.sum(row.co2_g) if "co2_g" in row else sa.null(),
    ]


def _rows_source(by: str, filters: Filters) -> sa.Select[Any]:
    day = sa.func.substr(sa.cast(ledger.c.ts, sa.Text), 1, 10, type_=sa.Text)
    group = {
        "model": ledger.c.deployment,
        "tier": ledger.c.tier,
        "key": ledger.c.key_id,
        "tag": ledger.c.tags,
        "day": day,
    }[by]
    return sa.select(group, *_row_sums()).where(*row_conditions(filters)).group_by(group)


def _totals_source(by: str, filters: Filters) -> sa.Select[Any]:
    total = daily_totals.c
    group = {"model": total.deployment, "tier": total.tier, "key": total.key_id, "day": total.day}
    conditions = _named(daily_totals, filters)
    if (since := filters.get("since")) is not None:
        conditions.append(total.day >= _day(since))
    if (until := filters.get("until")) is not None:
        conditions.append(total.day < _day(until))
    sums = [sa.func.sum(total[name]) for name in SUM_COLUMNS]
    return sa.select(group[by], *sums).where(*conditions).group_by(group[by])


def _needs_rows(by: str, filters: Filters) -> bool:
    """Whether the daily totals can't answer: they hold whole days, and no tags."""
    bounds = [filters.get("since"), filters.get("until")]
    parts_of_days = any(
        _moment(bound).astimezone(UTC).time() != time() for bound in bounds if bound is not None
    )
    needs_columns = any(filters.get(name) is not None for name in ("tag", "router", "policy"))
    return by == "tag" or needs_columns or parts_of_days


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


def _moment(bound: date) -> datetime:
    if not isinstance(bound, datetime):
        return datetime.combine(bound, time(), UTC)
    return bound if bound.tzinfo is not None else bound.replace(tzinfo=UTC)


def _day(bound: date) -> str:
    return _moment(bound).astimezone(UTC).date().isoformat()


def _tag_names(tags: str) -> list[str | None]:
    return [f"{key}={value}" for key, value in json.loads(tags).items()] or [None]


def _by_name(item: tuple[str | None, Sums]) -> str:
    return item[0] or ""


def _dearest_first(item: tuple[str | None, Sums]) -> tuple[Decimal, int, str]:
    return (-(item[1].usd or Decimal(0)), -item[1].calls, item[0] or "")
