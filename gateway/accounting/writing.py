"""How rows reach the database: a batch and its daily totals, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from gateway.accounting.access.tables import ID_PREFIX, reservations
from gateway.accounting.database import (
    PICO_A_MICRO,
    conversations,
    daily_totals,
    feedback,
    ledger,
    responses,
)

Row = dict[str, Any]
Key = tuple[str, int]

_GROUP = tuple(column.name for column in daily_totals.primary_key.columns)
_SUMS = tuple(column.name for column in daily_totals.columns if column.name not in _GROUP)
_COLUMNS = tuple(str(column.name) for column in ledger.columns)
_KEPT = tuple(str(column.name) for column in conversations.columns)

_values = itemgetter(*_COLUMNS)
_key = itemgetter("request_id", "attempt")

#: Rows of one statement. SQLite gives Python's lock away at every statement, and a busy event loop
#: may be slow to give it back: 500 single rows take 0.6 s then, 20 statements 0.1 s. As many
#: parameters as 25 rows have, every SQLite takes.
_AT_ONCE = 25


def write_rows(engine: Engine, rows: Sequence[Row]) -> int:
    """Write rows of `row_of` and their totals, all or none; returns how many were there already.

    A batch whose commit was answered by a broken connection may be written already, and so may rows
    that were spooled meanwhile: they are left out, of the totals too.
    """
    try:
        with engine.begin() as connection:
            _insert(connection, rows)
    except IntegrityError:
        with engine.begin() as connection:
            fresh = _not_yet_written(connection, rows)
            _insert(connection, fresh)
        return len(rows) - len(fresh)
    return 0


def delete_before(engine: Engine, cutoff: datetime, limit: int) -> bool:
    """Delete about `limit` of the oldest rows from before `cutoff`; whether more are left.

    Feedback and messages of the same time go with them.
    """
    with engine.begin() as connection:
        oldest = sa.select(ledger.c.ts).where(ledger.c.ts < cutoff).order_by(ledger.c.ts)
        bound = connection.scalar(oldest.offset(limit).limit(1))
        for table in (ledger, feedback, conversations):
            connection.execute(sa.delete(table).where(table.c.ts < (bound or cutoff)))
    return bound is not None


def delete_expired(engine: Engine, now: datetime, limit: int) -> bool:
    """Delete at most `limit` responses whose time is over; whether more may be left."""
    over = sa.select(responses.c.id).where(responses.c.expires <= now).limit(limit)
    with engine.begin() as connection:
        done = connection.execute(sa.delete(responses).where(responses.c.id.in_(over)))
    return done.rowcount == limit


def _insert(connection: Connection, rows: Sequence[Row]) -> None:
    if not rows:
        return
    _insert_into(connection, "ledger", _COLUMNS, [_values(row) for row in rows])
    _add_to_totals(connection, rows)
    kept = [itemgetter(*_KEPT)(row) for row in rows if row["messages"] is not None]
    _insert_into(connection, "conversations", _KEPT, kept)
    _end_reservations(connection, rows)


def _end_reservations(connection: Connection, rows: Sequence[Row]) -> None:
    """What virtual keys' calls have cost takes the place of what was reserved for them."""
    ended = [_key(row) for row in rows if (row["key_id"] or "").startswith(ID_PREFIX)]
    for start in range(0, len(ended), _AT_ONCE):
        same = sa.tuple_(reservations.c.request_id, reservations.c.attempt)
        part = ended[start : start + _AT_ONCE]
        connection.execute(sa.delete(reservations).where(same.in_(part)))


def _insert_into(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Many rows a statement; past SQLAlchemy's compiler, which takes longer than the database."""
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        statement = _statement(table, tuple(columns), mark, len(part))
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))


@lru_cache(maxsize=256)
def _statement(table: str, columns: tuple[str, ...], mark: str, rows: int) -> str:
    one = f"({', '.join([mark] * len(columns))})"
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) VALUES {', '.join([one] * rows)}"  # noqa: S608 (our own names)


def _not_yet_written(connection: Connection, rows: Iterable[Row]) -> list[Row]:
    by_key: dict[Key, Row] = {_key(row): row for row in rows}
    same_request = ledger.c.request_id.in_({request_id for request_id, _ in by_key})
    for request_id, attempt in connection.execute(
        sa.select(ledger.c.request_id, ledger.c.attempt).where(same_request)
    ):
        by_key.pop((request_id, attempt), None)
    return list(by_key.values())


def _add_to_totals(connection: Connection, rows: Iterable[Row]) -> None:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(daily_totals)
    added = {name: daily_totals.c[name] + statement.excluded[name] for name in _SUMS}
    connection.execute(
        statement.on_conflict_do_update(index_elements=_GROUP, set_=added), _totals_of(rows)
    )


def _totals_of(rows: Iterable[Row]) -> list[Row]:
    """One row a group, in a fixed order, so that two writers can't lock each other out."""
    totals: dict[tuple[str, ...], Row] = defaultdict(lambda: dict.fromkeys(_SUMS, 0))
    for row in rows:
        day = row["ts"][:10]
        group = (day, *(row[name] or "" for name in _GROUP[1:]))
        total, pico = totals[group], row["cost_pico"]
        total["calls"] += 1
        total["prompt_tokens"] += row["prompt_tokens"] or 0
        total["completion_tokens"] += row["completion_tokens"] or 0
        if pico is not None:
            total["priced"] += 1
            total["cost_micro"] += pico // PICO_A_MICRO
            total["cost_pico_rest"] += pico % PICO_A_MICRO
        elif row["prompt_tokens"] is not None:
            total["unpriced"] += 1
    return [dict(zip(_GROUP, group, strict=True)) | totals[group] for group in sorted(totals)]
