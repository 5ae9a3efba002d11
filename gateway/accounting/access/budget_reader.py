"""Budgets as people look at them: spent, reserved, left, and when they begin anew."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.accounting.access.keys import KeyRecord, record_of
from gateway.accounting.access.spending import Spending, spending_of
from gateway.accounting.access.tables import budget_marks, virtual_keys
from gateway.accounting.database import iso_z
from gateway.accounting.pricing import usd_text_of
from gateway.accounting.query import LedgerReader
from gateway.core.access import period_end, period_start


class BudgetReader:
    """Reads the budgets of one database; where there is none, there are no budgets."""

    def __init__(self, url: str) -> None:
        self._ledger = LedgerReader(url)

    def budgets(self) -> list[dict[str, Any]]:
        """One record a key with a budget, the oldest key first; amounts are exact decimals.

        `key_id, name, budget_usd, period, over, spent_usd, reserved_usd, resets_at, state`, where
        `state` is ok, degraded, exhausted, revoked or expired. Blocks. Raises LedgerUnavailable.
        """
        statement = (
            sa.select(virtual_keys)
            .where(virtual_keys.c.budget_pico.is_not(None))
            .order_by(virtual_keys.c.created, virtual_keys.c.id)
        )
        now = datetime.now(UTC)
        with self._ledger.connection() as connection:
            if connection is None or not sa.inspect(connection).has_table(virtual_keys.name):
                return []
            records = [record_of(row) for row in connection.execute(statement)]
            return [_shown(connection, record, now) for record in records]


def _shown(connection: Connection, record: KeyRecord, now: datetime) -> dict[str, Any]:
    key, budget = record.key, record.key.budget
    assert budget is not None  # noqa: S101 (only such were asked for)
    since = period_start(budget.period, now)
    spending = spending_of(connection, key.key_id, since, now)
    end = period_end(budget.period, now)
    return {
        "key_id": key.key_id,
        "name": key.name,
        "budget_usd": usd_text_of(budget.pico),
        "period": budget.period,
        "over": budget.over,
        "spent_usd": usd_text_of(spending.spent),
        "reserved_usd": usd_text_of(spending.reserved),
        "resets_at": None if end is None else iso_z(end),
        "state": _state(connection, record, spending, now),
    }


def _state(connection: Connection, record: KeyRecord, spending: Spending, now: datetime) -> str:
    lasting = record.state(now)
    budget = record.key.budget
    if lasting != "active" or budget is None:
        return lasting
    mark = budget_marks.c
    since = period_start(budget.period, now)
    is_marked = connection.scalar(
        sa.select(mark.percent).where(
            mark.key_id == record.key.key_id,
            mark.period_start == ("" if since is None else since.isoformat()),
            mark.budget_pico == budget.pico,
            mark.percent == 100,
        )
    )
    if is_marked is None and spending.spent < budget.pico:
        return "ok"
    return "degraded" if budget.over == "degrade" else "exhausted"
