"""Sums of the ledger by one column: from the tables of totals as far as they go, else from rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.accounting.daily_tags import OTHER, stand_ins
from gateway.accounting.database import PICO_A_MICRO, daily_totals, ledger
from gateway.accounting.filters import (
    Filters,
    conditions_by_name,
    day_of,
    moment_of,
    row_conditions,
)
from gateway.accounting.newest import rows_of_tag
from gateway.accounting.sums import SUM_COLUMNS, Sums
from gateway.accounting.totals import daily_tag_key_totals, daily_tag_totals

#: A group's name with its parts, in the order of `SUM_COLUMNS`.
_Part = tuple[str | None, Sequence[Any]]

_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)


def sums_by(
    connection: Connection, by: str, filters: Filters, dearest: int | None = None
) -> dict[str | None, Sums]:
    """The sums of each group. With by="tag" a call counts under each of its tags.

    So many of the `dearest` are among them; where None all are.
    """
    sums: dict[str | None, Sums] = defaultdict(Sums)
    for name, parts in _parts(connection, by, filters, dearest):
        sums[name].add(parts)
    return sums


def row_sums() -> list[sa.ColumnElement[Any]]:
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
        sa.func.sum(row.co2_g),
    ]


def _parts(
    connection: Connection, by: str, filters: Filters, dearest: int | None
) -> Iterator[_Part]:
    table = _table_of_totals(by, filters)
    if table is None:
        yield from _from_rows(connection, by, filters)
        return
    whole_days, rest = _cut_at_days(filters)
    if whole_days is not None:
        # Where there is more to add, a cheap group may yet become a dear one.
        is_all = not rest and filters.get("tag") is None
        yield from _from_totals(connection, table, by, whole_days, dearest if is_all else None)
        for day in _days_beside_totals(connection, table, whole_days):
            yield from _from_rows(connection, by, day)
    for part in rest:
        yield from _from_rows(connection, by, part)


def _table_of_totals(by: str, filters: Filters) -> sa.Table | None:
    """The totals that have the columns which are asked for; None when no table has."""
    asked = {by, *(name for name, value in filters.items() if value is not None)}
    if asked & {"router", "policy"}:
        return None
    if "tag" not in asked:
        return daily_totals
    if by == "tag" and filters.get("tag") is not None:
        return None
    if "key" not in asked:
        return daily_tag_totals
    return None if asked & {"model", "tier"} else daily_tag_key_totals


def _cut_at_days(filters: Filters) -> tuple[Filters | None, list[Filters]]:
    """The whole days of an interval, if there are any, and what of it is before and after them."""
    since, until = filters.get("since"), filters.get("until")
    begin = None if since is None else moment_of(since).astimezone(UTC)
    end = None if until is None else moment_of(until).astimezone(UTC)
    first = None if begin is None else _midnight(begin + _DAY - _TICK)
    last = None if end is None else _midnight(end)
    if first is not None and last is not None and first > last:
        return None, [filters]
    rest: list[Filters] = []
    if begin != first:
        rest.append({**filters, "since": begin, "until": first})
    if end != last:
        rest.append({**filters, "since": last, "until": end})
    return {**filters, "since": first, "until": last}, rest


def _from_totals(
    connection: Connection, table: sa.Table, by: str, filters: Filters, dearest: int | None
) -> Iterator[_Part]:
    columns = {"model": "deployment", "tier": "tier", "key": "key_id", "tag": "tag", "day": "day"}
    group = table.c[columns[by]]
    conditions = _days(table, filters) + conditions_by_name(table, filters)
    if (tag := filters.get("tag")) is not None:
        conditions.append(table.c.tag == tag)
    sums = [_sum(table.c[name]) for name in SUM_COLUMNS]
    statement = sa.select(group, *sums).where(*conditions).group_by(group)
    if dearest is not None:
        cost = _sum(table.c.cost_micro), _sum(table.c.cost_pico_rest)
        whole, rest = cost[0] + cost[1] // PICO_A_MICRO, cost[1] % PICO_A_MICRO
        is_server = connection.dialect.name == "postgresql"
        by_code_point = sa.collate(group, "C") if is_server else group
        order = (whole.desc(), rest.desc(), _sum(table.c.calls).desc(), by_code_point)
        statement = statement.order_by(*order).limit(dearest)
    found = connection.execute(statement)
    for name, *parts in found.all():  # at once: one by one takes PostgreSQL's driver twice as long
        yield name or None, parts


def _sum(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """PostgreSQL sums whole numbers as numeric, which takes long to read."""
    total = sa.func.sum(column)
    return total if isinstance(column.type, sa.Double) else sa.cast(total, sa.BigInteger)


def _days_beside_totals(
    connection: Connection, table: sa.Table, filters: Filters
) -> Iterator[Filters]:
    """The days on which a tag came too late for totals of its own."""
    tag = filters.get("tag")
    if tag is None or OTHER in {tag, tag.partition("=")[2]}:
        return
    days = sa.select(table.c.day).where(*_days(table, filters))
    summed = days.where(table.c.tag == tag)
    beside = days.where(table.c.tag.in_(stand_ins(tag))).except_(summed)
    for (day,) in connection.execute(beside.order_by("day")).all():
        start = datetime.combine(datetime.fromisoformat(day), time(), UTC)
        yield {**filters, "since": start, "until": start + _DAY}


def _from_rows(connection: Connection, by: str, filters: Filters) -> Iterator[_Part]:
    day = sa.func.substr(sa.cast(ledger.c.ts, sa.Text), 1, 10, type_=sa.Text)
    group = {
        "model": ledger.c.deployment,
        "tier": ledger.c.tier,
        "key": ledger.c.key_id,
        "tag": ledger.c.tags,
        "day": day,
    }[by]
    conditions = row_conditions(filters)
    if (tag := filters.get("tag")) is not None:
        conditions.append(rows_of_tag(tag))
    for name, *parts in connection.execute(
        sa.select(group, *row_sums()).where(*conditions).group_by(group)
    ):
        for one in _tags(name) if by == "tag" else [name or None]:
            yield one, parts


def _days(table: sa.Table, filters: Filters) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if (since := filters.get("since")) is not None:
        conditions.append(table.c.day >= day_of(since))
    if (until := filters.get("until")) is not None:
        conditions.append(table.c.day < day_of(until))
    return conditions


def _tags(tags: str) -> list[str | None]:
    return [f"{key}={value}" for key, value in json.loads(tags).items()] or [None]


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
