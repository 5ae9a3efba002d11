"""How far budgets are used up in their period, and who has been told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

from gateway.accounting.access.keys import record_of
from gateway.accounting.access.reserving import USED_UP
from gateway.accounting.access.tables import budget_marks, virtual_keys
from gateway.accounting.database import PICO_A_MICRO, daily_totals, iso_z, open_for_reading
from gateway.accounting.pricing import usd_text_of
from gateway.core.access import PERIODS, Budget, Period, VirtualKey, period_end, period_start


@dataclass(slots=True, frozen=True, eq=False)
class Mark:
    """A percentage of a key's budget, in one period; `spent` is in pico-USD, as of now."""

    key_id: str
    name: str
    budget: Budget
    period_start: str
    percent: int
    spent: int
    at: datetime

    def __hash__(self) -> int:
        return hash((self.key_id, self.period_start, self.budget.pico, self.percent))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mark) and self.row_key() == other.row_key()

    def row_key(self) -> dict[str, Any]:
        """Its row in `budget_marks`."""
        return {
            "key_id": self.key_id,
            "period_start": self.period_start,
            "budget_pico": self.budget.pico,
            "percent": self.percent,
        }

    def message(self) -> dict[str, Any]:
        """What a webhook is told; `text` is for those that show one."""
        budget = self.budget
        limit, spent = usd_text_of(budget.pico), usd_text_of(self.spent)
        end = period_end(budget.period, self.at)
        each = "in all" if budget.period == "total" else f"a {budget.period}"
        text = f"The key '{self.name}' has spent {spent} of {limit} USD {each}: {self.percent} %."
        if self.percent == USED_UP:
            what = "are refused" if budget.over == "refuse" else "go to the small tier"
            text = f"The key '{self.name}' has used up its {limit} USD {each}: calls {what}."
        return {
            "type": "budget.used_up" if self.percent == USED_UP else "budget.threshold",
            "text": text,
            "key_id": self.key_id,
            "key_name": self.name,
            "percent": self.percent,
            "budget_usd": limit,
            "spent_usd": spent,
            "period": budget.period,
            "period_start": self.period_start or None,
            "over": budget.over,
            "resets_at": None if end is None else iso_z(end),
            "at": iso_z(self.at),
        }


def reached_marks(engine: Engine, url: str, at: Sequence[int], now: datetime) -> Iterator[Mark]:
    """Every mark that is reached and that nobody was told of. Reads alone."""
    reader = engine if engine.dialect.name == "postgresql" else open_for_reading(url)
    if reader is None:
        return
    with reader.connect() as connection:
        found = [mark for period in PERIODS for mark in _of_period(connection, period, at, now)]
    yield from found


def claim(engine: Engine, mark: Mark, now: datetime, until: datetime) -> bool:
    """Take it on to tell of a mark, for a while; False where another process has."""
    insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert
    new = insert(budget_marks).values(**mark.row_key(), reached=now, claimed=until)
    free = sa.or_(budget_marks.c.claimed.is_(None), budget_marks.c.claimed <= now)
    with engine.begin() as connection:
        made = new.on_conflict_do_nothing().returning(budget_marks.c.percent)
        if connection.execute(made).first() is not None:
            return True
        taken = sa.update(budget_marks).where(_is(mark), budget_marks.c.told.is_(None), free)
        return connection.execute(taken.values(claimed=until)).rowcount == 1


def told(engine: Engine, mark: Mark, now: datetime) -> None:
    """Note that somebody has heard of a mark."""
    with engine.begin() as connection:
        connection.execute(sa.update(budget_marks).where(_is(mark)).values(told=now))


def _of_period(
    connection: Connection, period: Period, at: Sequence[int], now: datetime
) -> Iterator[Mark]:
    key = virtual_keys.c
    usable = sa.and_(key.revoked.is_(None), key.budget_period == period)
    rows = connection.execute(sa.select(virtual_keys).where(usable)).all()
    if not rows:
        return
    since = period_start(period, now)
    start = "" if since is None else since.isoformat()
    spent = _spent(connection, start, sa.select(key.id).where(usable))
    mark = budget_marks.c
    known = {
        (row.key_id, int(row.budget_pico), row.percent): row.told is not None
        for row in connection.execute(sa.select(budget_marks).where(mark.period_start == start))
    }
    for row in rows:
        one = record_of(row).key
        for percent in _reached(one, spent.get(one.key_id, 0), at, known):
            assert one.budget is not None  # noqa: S101 (only such were asked for)
            used = spent.get(one.key_id, 0)
            yield Mark(one.key_id, one.name, one.budget, start, percent, used, now)


def _reached(
    key: VirtualKey, spent: int, at: Sequence[int], known: dict[tuple[str, int, int], bool]
) -> Iterator[int]:
    """The percentages that are reached and untold; 100 also where a call didn't fit any more."""
    if key.budget is None:
        return
    for percent in at:
        told_already = known.get((key.key_id, key.budget.pico, percent))
        is_reached = spent * 100 >= percent * key.budget.pico
        if percent == USED_UP and told_already is not None:
            is_reached = True
        if is_reached and not told_already:
            yield percent


def _spent(connection: Connection, start: str, keys: sa.Select[Any]) -> dict[str, int]:
    totals = daily_totals.c
    sums = sa.select(
        totals.key_id, sa.func.sum(totals.cost_micro), sa.func.sum(totals.cost_pico_rest)
    )
    ours = sums.where(totals.key_id.in_(keys), totals.day >= start).group_by(totals.key_id)
    return {
        key_id: int(micro or 0) * PICO_A_MICRO + int(rest or 0)
        for key_id, micro, rest in connection.execute(ours)
    }


def _is(mark: Mark) -> sa.ColumnElement[bool]:
    return sa.and_(*(budget_marks.c[name] == value for name, value in mark.row_key().items()))
