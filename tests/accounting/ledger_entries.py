"""Entries as the pipeline makes them, and a ledger that is stopped whatever happens."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gateway.accounting.ledger import Ledger
from gateway.core.entry import LedgerEntry
from gateway.core.price import Cost
from gateway.core.usage import Usage

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(**changes: Any) -> LedgerEntry:
    """A call of the large tier that cost 0.00000625 USD."""
    values: dict[str, Any] = {
        "request_id": uuid.uuid4().hex,
        "attempt": 1,
        "ts": NOON,
        "endpoint": "/v1/chat/completions",
        "model_requested": "auto",
        "deployment": "gpt-4o",
        "model_served": "gpt-4o-2024-08-06",
        "tier": "large",
        "reason": "above_threshold",
        "router_version": "c1",
        "stream": False,
        "outcome": "ok",
        "status": 200,
        "usage": Usage(10, 20),
        "cost": Cost(Decimal("0.00000625"), "computed", "config:gpt-4o"),
    }
    return LedgerEntry(**(values | changes))


@contextmanager
def running(url: str, **options: Any) -> Iterator[Ledger]:
    """A started ledger; leaving the block writes what is queued."""
    ledger = Ledger(url, **options)
    ledger.start()
    try:
        yield ledger
    finally:
        ledger.stop()


def record(url: str, *entries: LedgerEntry) -> None:
    """Write entries, and be sure that they are written."""
    with running(url) as ledger:
        for one in entries:
            ledger.put(one)
    assert ledger.dropped == 0
