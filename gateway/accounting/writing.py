"""How entries reach the database: a batch and its daily totals, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

from gateway.accounting.database import (
    PICO_A_MICRO,
    conversations,
    daily_totals,
    feedback,
    ledger,
)
from gateway.accounting.row import row_of
from gateway.core.entry import LedgerEntry

Row = dict[str, Any]

_GROUP = tuple(column.name for column in daily_totals.primary_key.columns)
_SUMS = tuple(column.name for column in daily_totals.columns if column.name not in _GROUP)


def write_entries(engine: Engine, entries: Sequence[LedgerEntry]) -> int:
    """Write entries and their totals, all or none; returns how many were there already.

    A batch whose commit was answered by a broken connection may be written already: such rows are
    left out, of the totals too.
    """
    rows = [row_of(entry) for entry in entries]
    with engine.begin() as connection:
        fresh = _not_yet_written(connection, rows)
        if fresh:
            connection.execute(sa.insert(ledger), fresh)
            _add_to_totals(connection, fresh)
            _keep_messages(connection, entries, fresh)
    return len(rows) - len(fresh)


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


def _not_yet_written(connection: Connection, rows: Iterable[Row]) -> list[Row]:
    by_key = {(row["request_id"], row["attempt"]): row for row in rows}
    same_request = ledger.c.request_id.in_({request_id for request_id, _ in by_key})
    for key in connection.execute(
        sa.select(ledger.c.request_id, ledger.c.attempt).where(same_request)
    ):
        by_key.pop(tuple(key), None)
    return list(by_key.values())


def _keep_messages(
    connection: Connection, entries: Iterable[LedgerEntry], fresh: Iterable[Row]
) -> None:
    """Keep the messages that entries carry."""
    written = {(row["request_id"], row["attempt"]) for row in fresh}
    kept: list[Row] = []
    for entry in entries:
        if entry.messages is None or (entry.request_id, entry.attempt) not in written:
            continue
        kept.append({"request_id": entry.request_id, "ts": entry.ts, "messages": entry.messages})
    if kept:
        connection.execute(sa.insert(conversations), kept)


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
        day = row["ts"].astimezone(UTC).date().isoformat()
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
