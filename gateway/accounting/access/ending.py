"""The row of a call ends what was reserved for it, in the transaction that writes the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.accounting.access.tables import ID_PREFIX, NOBODY, reservations, virtual_keys
from gateway.core.access import period_end

Row = Mapping[str, Any]

#: Reservations of one statement: as many parameters every SQLite takes.
_ENDED_AT_ONCE = 250
_NEVER = datetime.max.replace(tzinfo=UTC)

_key = itemgetter("request_id", "attempt")


def end_reservations(connection: Connection, rows: Sequence[Row]) -> None:
    """What virtual keys' calls have cost takes the place of what was reserved for them.

    Where an answer began and nobody knows its cost, what was reserved stands for it until the
    budget's period ends: unknown isn't free.
    """
    of_keys = [row for row in rows if (row["key_id"] or "").startswith(ID_PREFIX)]
    unknown = [row for row in of_keys if _is_of_unknown_cost(row)]
    if unknown:
        _keep(connection, unknown)
    kept = {_key(row) for row in unknown}
    ended = [_key(row) for row in of_keys if _key(row) not in kept]
    for start in range(0, len(ended), _ENDED_AT_ONCE):
        part = ended[start : start + _ENDED_AT_ONCE]
        connection.execute(sa.delete(reservations).where(_same().in_(part)))


def _is_of_unknown_cost(row: Row) -> bool:
    has_begun = row["ttft_ms"] is not None or row["prompt_tokens"] is not None
    return row["cost_pico"] is None and has_begun


def _keep(connection: Connection, rows: Sequence[Row]) -> None:
    key = virtual_keys.c
    found = sa.select(key.id, key.budget_period).where(key.id.in_({row["key_id"] for row in rows}))
    periods = {one.id: one.budget_period for one in connection.execute(found)}
    for row in rows:
        period = periods.get(row["key_id"])
        end = None if period is None else period_end(period, datetime.fromisoformat(row["ts"]))
        kept = sa.update(reservations).where(_same() == sa.tuple_(*_key(row)))
        connection.execute(kept.values(owner=NOBODY, expires=end or _NEVER))


def _same() -> sa.Tuple:
    return sa.tuple_(reservations.c.request_id, reservations.c.attempt)
