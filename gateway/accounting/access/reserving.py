"""Reservations in the database: many needs checked and inserted in one transaction."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from gateway.accounting.access.budgets import Need, Shortage
from gateway.accounting.access.spending import spending_of
from gateway.accounting.access.tables import budget_marks, reservations, virtual_keys
from gateway.accounting.database import open_for_writing
from gateway.accounting.migrations import migrate
from gateway.core.access import Budget, period_start

#: The mark of a budget that a call didn't fit in any more.
USED_UP = 100
LONGEST_CALL_S = 7200.0


class Reserver:
    """One process's reservations. Every method blocks, and raises the driver's errors."""

    def __init__(self, url: str, owner: str, lease_s: float) -> None:
        self._owner = owner
        self._lease = timedelta(seconds=lease_s)
        self._engine = open_for_writing(url, durable=False)
        self._begun_s: dict[tuple[str, int], float] = {}
        #: Inserted by a transaction of whose end nobody has heard: their calls weren't made.
        self._unsure: set[tuple[str, int]] = set()
        try:
            migrate(self._engine)
        except BaseException:
            self._engine.dispose()
            raise

    def reserve(
        self, needs: Sequence[Need], given_up: Sequence[tuple[str, int]]
    ) -> list[Shortage | None]:
        """Meet each need that its budget allows, in order; None for each that is met."""
        now = datetime.now(UTC)
        by_key: dict[str, list[int]] = defaultdict(list)
        for place, need in enumerate(needs):
            by_key[need.key_id].append(place)
        outcomes: list[Shortage | None] = [None] * len(needs)
        met: list[Need] = []
        with self._engine.begin() as connection:
            if given_up or self._unsure:
                _end(connection, [*given_up, *self._unsure])
            for key_id, budget in _locked_budgets(connection, by_key).items():
                own = [needs[place] for place in by_key[key_id]]
                found = self._of_one_key(connection, budget, own, now)
                for place, outcome in zip(by_key[key_id], found, strict=True):
                    outcomes[place] = outcome
                    if outcome is None:
                        met.append(needs[place])
            if met:
                rows = [self._row(need, now) for need in met]
                connection.execute(sa.insert(reservations), rows)
                self._unsure |= {(need.request_id, need.attempt) for need in met}
        self._unsure = set()
        at_s = time.monotonic()
        self._begun_s |= {(need.request_id, need.attempt): at_s for need in met}
        return outcomes

    def renew(self) -> None:
        """Move on what is still held, and forget what dead processes held.

        What is older than any call has lost its row, which would have ended it.
        """
        if not self._begun_s and not self._unsure:
            return
        now, now_s = datetime.now(UTC), time.monotonic()
        mine = reservations.c.owner == self._owner
        key = (reservations.c.request_id, reservations.c.attempt)
        with self._engine.begin() as connection:
            held = {(row[0], row[1]) for row in connection.execute(sa.select(*key).where(mine))}
            begun_s = {one: at_s for one, at_s in self._begun_s.items() if one in held}
            lost = [one for one, at_s in begun_s.items() if at_s <= now_s - LONGEST_CALL_S]
            if lost or self._unsure:
                _end(connection, [*lost, *self._unsure])
            renewed = sa.update(reservations).where(_unlocked(mine))
            connection.execute(renewed.values(expires=now + self._lease))
            over = _unlocked(reservations.c.expires <= now)
            connection.execute(sa.delete(reservations).where(over))
        self._begun_s = {one: begun_s[one] for one in begun_s.keys() - lost}
        self._unsure = set()

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def _of_one_key(
        self, connection: Connection, budget: Budget, needs: Sequence[Need], now: datetime
    ) -> list[Shortage | None]:
        """Which needs fit. Each counts in the period that its row will be booked in."""
        starts = {period_start(budget.period, need.at) for need in needs}
        sums = {since: spending_of(connection, needs[0].key_id, since, now) for since in starts}
        added = 0
        outcomes: list[Shortage | None] = []
        used_up: set[date | None] = set()
        for need in needs:
            since = period_start(budget.period, need.at)
            spent, reserved = sums[since].spent, sums[since].reserved + added
            if need.forced or spent + reserved + need.pico <= budget.pico:
                added += need.pico
                outcomes.append(None)
                continue
            outcomes.append(Shortage(budget, spent, reserved))
            if spent + need.pico > budget.pico >= need.pico:
                used_up.add(since)
        for since in used_up:
            _mark(connection, needs[0].key_id, budget, since, now)
        return outcomes

    def _row(self, need: Need, now: datetime) -> dict[str, object]:
        return {
            "request_id": need.request_id,
            "attempt": need.attempt,
            "key_id": need.key_id,
            "pico": need.pico,
            "owner": self._owner,
            "expires": now + self._lease,
        }


def _locked_budgets(connection: Connection, key_ids: Iterable[str]) -> dict[str, Budget]:
    """The budgets as they are now; nobody else reserves from them until the transaction ends.

    SQLite's transactions hold the whole database; a server locks the keys' rows, in a fixed order.
    """
    key = virtual_keys.c
    statement = (
        sa.select(key.id, key.budget_pico, key.budget_period, key.budget_over)
        .where(key.id.in_(list(key_ids)), key.budget_pico.is_not(None))
        .order_by(key.id)
        .with_for_update()
    )
    return {
        row.id: Budget(int(row.budget_pico), row.budget_period, row.budget_over)
        for row in connection.execute(statement)
    }


def _mark(
    connection: Connection, key_id: str, budget: Budget, since: date | None, now: datetime
) -> None:
    """Note, once a period, that a budget is used up."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    values = {
        "key_id": key_id,
        "period_start": "" if since is None else since.isoformat(),
        "budget_pico": budget.pico,
        "percent": USED_UP,
        "reached": now,
    }
    connection.execute(insert(budget_marks).values(values).on_conflict_do_nothing())


def _end(connection: Connection, which: Sequence[tuple[str, int]]) -> None:
    same = sa.tuple_(reservations.c.request_id, reservations.c.attempt).in_(list(which))
    connection.execute(sa.delete(reservations).where(same))


def _unlocked(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Those that no row is just ending, so that the two never wait for each other."""
    key = (reservations.c.request_id, reservations.c.attempt)
    found = sa.select(*key).where(condition).with_for_update(skip_locked=True)
    return sa.tuple_(*key).in_(found)
