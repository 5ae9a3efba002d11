"""The newest rows that match, found through an index wherever there is one for the filters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.accounting.daily_tags import tag_hash
from gateway.accounting.database import daily_totals, ledger
from gateway.accounting.filters import (
    Filters,
    between,
    conditions_beside_time,
    conditions_by_name,
    day_of,
    row_conditions,
)
from gateway.accounting.totals import call_totals, ledger_tags

#: More rows than these are read in the order of time at once, whatever deployments they are of.
_FEW = 1000

#: So many deployments are looked at one by one.
_MOST_DEPLOYMENTS = 16

_NEWEST_FIRST = (ledger.c.ts.desc(), ledger.c.request_id.desc(), ledger.c.attempt.desc())


def newest(
    connection: Connection, filters: Filters, limit: int | None, after: sa.Row[Any] | None = None
) -> Sequence[sa.Row[Any]]:
    """The newest rows first, at most `limit`, of those that come `after` one where it is given.

    By tag through `ledger_tags`, by key through its index; by tier or model through the index of
    the deployments that the totals name, one after the other. No filter makes it read rows that are
    newer than the newest match of a rare tag, key, tier or model.
    """
    if filters.get("tag") is not None:
        return _by_tag(connection, filters, limit, after)
    by_deployment = filters.get("tier") is not None or filters.get("model") is not None
    if by_deployment and filters.get("key") is None and limit is not None and limit <= _FEW:
        served = _deployments(connection, filters)
        if len(served) <= _MOST_DEPLOYMENTS:
            return _by_deployment(connection, filters, limit, after, served)
    statement = sa.select(ledger).where(*row_conditions(filters), *_later(ledger.c.ts, after))
    return connection.execute(statement.order_by(*_NEWEST_FIRST).limit(limit)).all()


def rows_of_tag(tag: str) -> sa.ColumnElement[bool]:
    """A condition that leads from a tag to its rows; the tags themselves are left to check."""
    moments = sa.select(ledger_tags.c.ts).where(ledger_tags.c.tag_hash == tag_hash(tag))
    return ledger.c.ts.in_(moments)


def _by_tag(
    connection: Connection, filters: Filters, limit: int | None, after: sa.Row[Any] | None
) -> Sequence[sa.Row[Any]]:
    ts = ledger_tags.c.ts
    statement = (
        sa.select(ledger)
        .select_from(ledger_tags.join(ledger, ledger.c.ts == ts))
        .where(ledger_tags.c.tag_hash == tag_hash(str(filters["tag"])))
        .where(*between(ts, filters), *conditions_beside_time(filters), *_later(ts, after))
        .order_by(ts.desc(), *_NEWEST_FIRST[1:])
        .limit(limit)
    )
    return connection.execute(statement).all()


def _by_deployment(
    connection: Connection,
    filters: Filters,
    limit: int,
    after: sa.Row[Any] | None,
    served: dict[str, str],
) -> Sequence[sa.Row[Any]]:
    """The newest rows of each deployment, until the last day that it matched on; then of all."""
    found: list[sa.Row[Any]] = []
    for deployment, last_day in served.items():
        end = datetime.combine(datetime.fromisoformat(last_day), time(), UTC) + timedelta(days=1)
        statement = sa.select(ledger).where(
            ledger.c.deployment == deployment,
            ledger.c.ts < end,
            *row_conditions(filters),
            *_later(ledger.c.ts, after),
        )
        found += connection.execute(statement.order_by(*_NEWEST_FIRST).limit(limit)).all()
    found.sort(key=lambda row: (row.ts, row.request_id, row.attempt), reverse=True)
    return found[:limit]


def _deployments(connection: Connection, filters: Filters) -> dict[str, str]:
    """The deployments that can have matching rows, and the last day on which they had any."""
    if filters.get("model") is None:
        total, day = call_totals.c, call_totals.c.start
        conditions = [total.step == "day", total.tier == filters.get("tier")]
    else:
        total, day = daily_totals.c, daily_totals.c.day
        conditions = conditions_by_name(daily_totals, filters)
    if (since := filters.get("since")) is not None:
        conditions.append(day >= day_of(since))
    if (until := filters.get("until")) is not None:
        conditions.append(day <= day_of(until))
    statement = sa.select(total.deployment, sa.func.max(day)).where(*conditions)
    found = connection.execute(statement.group_by(total.deployment))
    return {str(deployment): str(last_day) for deployment, last_day in found}


def _later(
    ts: sa.ColumnElement[datetime], after: sa.Row[Any] | None
) -> Sequence[sa.ColumnElement[bool]]:
    """What comes after a row, in the order of the newest first."""
    if after is None:
        return ()
    row = ledger.c
    tie = sa.or_(
        row.request_id < after.request_id,
        sa.and_(row.request_id == after.request_id, row.attempt < after.attempt),
    )
    return (ts <= after.ts, sa.or_(ts < after.ts, tie))
