"""The latest requests of the ledger, and all attempts of one."""

from __future__ import annotations

from decimal import Decimal
from itertools import islice
from typing import Any

import sqlalchemy as sa

from gateway.accounting.database import ledger
from gateway.accounting.pricing import usd_text
from gateway.accounting.query import LedgerReader
from gateway.accounting.row import shown

#: What a line about a request shows of the attempt that ended it.
_SHOWN = (
    "request_id",
    "ts",
    "tier",
    "deployment",
    "reason",
    "score",
    "threshold",
    "policy",
    "outcome",
    "latency_ms",
    "prompt_tokens",
    "completion_tokens",
)
#: Rows are read for so many attempts a request.
_ATTEMPTS = 2


def latest_requests(reader: LedgerReader, most: int) -> list[dict[str, Any]]:
    """The newest requests first: their last attempt, `attempts`, and what all of them cost.

    `cost_usd` is null where an attempt used tokens without a price. Raises LedgerUnavailable.
    """
    # Attempts at other requests may have begun between two at the same one.
    requests: dict[str, list[dict[str, Any]]] = {}
    for row in reader.rows(limit=most * _ATTEMPTS):
        requests.setdefault(row["request_id"], []).append(row)
    return [_request(attempts) for attempts in islice(requests.values(), most)]


def attempts_of(reader: LedgerReader, request_id: str) -> list[dict[str, Any]]:
    """The rows of one request, in order. Raises LedgerUnavailable."""
    statement = (
        sa.select(ledger).where(ledger.c.request_id == request_id).order_by(ledger.c.attempt)
    )
    with reader.connection() as connection:
        if connection is None:
            return []
        return [shown(row._asdict()) for row in connection.execute(statement)]


def _request(attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """Attempts of one request, the last one first."""
    last = attempts[0]
    costs = [row["cost_usd"] for row in attempts if row["prompt_tokens"] is not None]
    known = [Decimal(cost) for cost in costs if cost is not None]
    usd = sum(known, Decimal(0)) if costs and len(known) == len(costs) else None
    line = {name: last[name] for name in _SHOWN}
    return {**line, "attempts": last["attempt"], "cost_usd": usd_text(usd)}
