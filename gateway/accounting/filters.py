"""Which rows of the ledger a question is about."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TypedDict

import sqlalchemy as sa

from gateway.accounting.database import ledger
from gateway.accounting.row import tag_pair, tag_text


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


def row_conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    """What the filters ask of the ledger's rows."""
    return between(ledger.c.ts, filters) + conditions_beside_time(filters)


def between(ts: sa.ColumnElement[datetime], filters: Filters) -> list[sa.ColumnElement[bool]]:
    """What the filters ask of a moment."""
    conditions: list[sa.ColumnElement[bool]] = []
    if (since := filters.get("since")) is not None:
        conditions.append(ts >= moment_of(since))
    if (until := filters.get("until")) is not None:
        conditions.append(ts < moment_of(until))
    return conditions


def conditions_beside_time(filters: Filters) -> list[sa.ColumnElement[bool]]:
    """What the filters ask of everything else."""
    conditions: list[sa.ColumnElement[bool]] = []
    if (tag := filters.get("tag")) is not None:
        # LIKE ignores case in SQLite, and its wildcards would need escaping.
        without = sa.func.replace(ledger.c.tags, tag_text(*tag_pair(tag)), "")
        conditions.append(without != ledger.c.tags)
    if (router := filters.get("router")) is not None:
        conditions.append(ledger.c.router_version == router)
    if (policy := filters.get("policy")) is not None:
        conditions.append(ledger.c.policy == policy)
    return conditions + conditions_by_name(ledger, filters)


def conditions_by_name(table: sa.Table, filters: Filters) -> list[sa.ColumnElement[bool]]:
    """The conditions that rows and totals share."""
    conditions: list[sa.ColumnElement[bool]] = []
    if (key := filters.get("key")) is not None:
        conditions.append(table.c.key_id == key)
    if (tier := filters.get("tier")) is not None:
        conditions.append(table.c.tier == tier)
    if (model := filters.get("model")) is not None:
        conditions.append(sa.or_(table.c.deployment == model, table.c.model_served == model))
    return conditions


def moment_of(bound: date) -> datetime:
    """A date or a time as an aware moment."""
    if not isinstance(bound, datetime):
        return datetime.combine(bound, time(), UTC)
    return bound if bound.tzinfo is not None else bound.replace(tzinfo=UTC)


def day_of(bound: date) -> str:
    """The UTC day of a date or a time, as the totals name it."""
    return moment_of(bound).astimezone(UTC).date().isoformat()
