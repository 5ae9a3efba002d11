"""How rows reach the database: a batch and its sums, in one transaction; and how they leave it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from gateway.accounting.access.ending import end_reservations
from gateway.accounting.bulk import insert_many
from gateway.accounting.daily_tags import DailyTags, tag_hash, tag_names
from gateway.accounting.database import (
    conversations,
    feedback,
    ledger,
    responses,
)
from gateway.accounting.rollup import add_to_totals, days_and_tags
from gateway.accounting.totals import call_totals, ledger_tags, score_totals

Row = dict[str, Any]
Key = tuple[str, int]

_COLUMNS = tuple(str(column.name) for column in ledger.columns)
_KEPT = tuple(str(column.name) for column in conversations.columns)

_values = itemgetter(*_COLUMNS)
_key = itemgetter("request_id", "attempt")


def write_rows(engine: Engine, rows: Sequence[Row], tags: DailyTags) -> int:
    """Write rows of `row_of` and their totals, all or none; returns how many were there already.

    A batch whose commit was answered by a broken connection may be written already, and so may rows
    that were spooled meanwhile: they are left out, of the totals too.
    """
    try:
        with engine.begin() as connection:
            _insert(connection, rows, tags)
    except IntegrityError:
        tags.forget()
        with engine.begin() as connection:
            fresh = _not_yet_written(connection, rows)
            _insert(connection, fresh, tags)
        return len(rows) - len(fresh)
    except BaseException:
        tags.forget()
        raise
    return 0


def delete_before(engine: Engine, cutoff: datetime, limit: int) -> bool:
    """Delete about `limit` of the oldest rows from before `cutoff`; whether more are left.

    Feedback and messages of the same time go with them, and in the end the sums of the hours of
    earlier days. What is summed by day stays.
    """
    with engine.begin() as connection:
        oldest = sa.select(ledger.c.ts).where(ledger.c.ts < cutoff).order_by(ledger.c.ts)
        following = connection.scalar(oldest.offset(limit).limit(1))
        bound = following or cutoff
        if following is not None and following == connection.scalar(oldest.limit(1)):
            bound += timedelta(microseconds=1)  # more than `limit` of one moment go together
        _delete_tags(connection, bound)
        for table in (ledger, feedback, conversations):
            connection.execute(sa.delete(table).where(table.c.ts < bound))
        if following is None:
            for table in (call_totals, score_totals):
                is_past = table.c.start < f"{cutoff.astimezone(UTC):%Y-%m-%d}"
                connection.execute(sa.delete(table).where(table.c.step == "hour", is_past))
    return following is not None


def _delete_tags(connection: Connection, bound: datetime) -> None:
    """Take the rows that are about to be deleted out of the index from tags to rows."""
    texts = sa.select(ledger.c.tags).where(ledger.c.ts < bound, ledger.c.tags != "{}").distinct()
    hashes = {tag_hash(tag) for text in connection.scalars(texts) for tag in tag_names(text)}
    index = ledger_tags.c
    is_over = sa.and_(index.tag_hash == sa.bindparam("over"), index.ts < bound)
    if hashes:
        connection.execute(sa.delete(ledger_tags).where(is_over), [{"over": h} for h in hashes])


def delete_expired(engine: Engine, now: datetime, limit: int) -> bool:
    """Delete at most `limit` responses whose time is over; whether more may be left."""
    over = sa.select(responses.c.id).where(responses.c.expires <= now).limit(limit)
    with engine.begin() as connection:
        done = connection.execute(sa.delete(responses).where(responses.c.id.in_(over)))
    return done.rowcount == limit


def _insert(connection: Connection, rows: Sequence[Row], tags: DailyTags) -> None:
    if not rows:
        return
    tags.admit(connection, days_and_tags(rows))
    insert_many(connection, ledger, _COLUMNS, [_values(row) for row in rows])
    add_to_totals(connection, rows, tags)
    kept = [itemgetter(*_KEPT)(row) for row in rows if row["messages"] is not None]
    insert_many(connection, conversations, _KEPT, kept)
    end_reservations(connection, rows)


def _not_yet_written(connection: Connection, rows: Iterable[Row]) -> list[Row]:
    by_key: dict[Key, Row] = {_key(row): row for row in rows}
    same_request = ledger.c.request_id.in_({request_id for request_id, _ in by_key})
    for request_id, attempt in connection.execute(
        sa.select(ledger.c.request_id, ledger.c.attempt).where(same_request)
    ):
        by_key.pop((request_id, attempt), None)
    return list(by_key.values())
