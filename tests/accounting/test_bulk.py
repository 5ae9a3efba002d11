"""Rows whose values have different Python types, though a column has one."""

from datetime import timedelta

from gateway.accounting.query import LedgerReader
from gateway.core.deployment import Tier
from tests.accounting.ledger_entries import NOON, entry, record


def test_numbers_and_enums_of_a_column_may_be_mixed(ledger_url: str) -> None:
    later = NOON + timedelta(hours=1)
    record(
        ledger_url,
        entry(request_id="a", score=1, latency_ms=2, tier=Tier.LARGE),
        entry(request_id="b", score=0.5, latency_ms=2.5, tier="large", ts=later),
        entry(request_id="c", score=None, tier="small", ts=later),
    )
    rows = LedgerReader(ledger_url).rows()
    found = [(row["request_id"], row["score"], row["tier"]) for row in rows]
    assert found == [("c", None, "small"), ("b", 0.5, "large"), ("a", 1.0, "large")]
