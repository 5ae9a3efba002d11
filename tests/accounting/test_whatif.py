"""What the same traffic would have cost elsewhere, over real ledgers."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.accounting.query import LedgerReader
from gateway.accounting.whatif import what_if
from gateway.core.price import UNPRICED, Cost, Price
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import NOON, entry, record

LARGE = Price("config:gpt-4o", Decimal("2.5"), Decimal(10), Decimal("1.25"))


def cost(usd: str) -> Cost:
    return Cost(Decimal(usd), "computed", "p")


@pytest.fixture
def mixed(ledger_url: str) -> LedgerReader:
    """One small answer, one large answer after a failed attempt, one cascade, one failure."""
    usage = Usage(1000, 100, cached_tokens=200)
    small = {"tier": "small", "deployment": "smollm2"}
    record(
        ledger_url,
        entry(request_id="a", usage=usage, cost=cost("0.0001"), **small),
        entry(request_id="b", usage=None, cost=UNPRICED, outcome="timeout"),
        entry(request_id="b", attempt=2, usage=usage, cost=cost("0.00325")),
        entry(request_id="c", usage=Usage(1000, 8), cost=cost("0.00002"), **small),
        entry(request_id="c", attempt=2, usage=usage, cost=cost("0.00325")),
        entry(request_id="d", usage=None, cost=UNPRICED, outcome="upstream_error"),
    )
    return LedgerReader(ledger_url)


def test_all_large_counts_each_request_once_with_its_answering_tokens(mixed: LedgerReader) -> None:
    outcome = what_if(mixed, "all-large", LARGE)
    assert (outcome.requests, outcome.unknown, outcome.unpriced) == (4, 0, 0)
    assert outcome.usd == 3 * Decimal("0.00325")
    assert outcome.actual_usd == Decimal("0.0001") + 2 * Decimal("0.00325") + Decimal("0.00002")
    assert outcome.saved_share == pytest.approx(1 - 0.00662 / 0.00975)


def test_what_only_one_tier_can_answer_is_no_part_of_a_scenario(
    mixed: LedgerReader, ledger_url: str
) -> None:
    before = what_if(mixed, "all-large", LARGE)
    record(ledger_url, entry(request_id="e", endpoint="/v1/embeddings", usage=Usage(1000, 0)))
    assert what_if(mixed, "all-large", LARGE) == before


def test_a_price_per_hour_prices_only_what_that_tier_answered(mixed: LedgerReader) -> None:
    outcome = what_if(mixed, "all-small", Price("local", usd_per_hour=Decimal("0.08")))
    assert (outcome.usd, outcome.unknown, outcome.saved_share) == (Decimal("0.0001"), 2, None)


def test_without_a_price_the_scenario_is_unknown_not_free(ledger_url: str) -> None:
    record(ledger_url, entry(tier="small", cost=UNPRICED))
    outcome = what_if(LedgerReader(ledger_url), "all-large", None)
    assert (outcome.usd, outcome.unknown, outcome.actual_usd) == (None, 1, None)
    assert (outcome.unpriced, outcome.saved_share) == (1, None)


def test_the_scenario_is_filtered_like_everything_else(mixed: LedgerReader) -> None:
    assert what_if(mixed, "all-large", LARGE, tier="small").requests == 2
    assert what_if(mixed, "all-large", LARGE, since=NOON + timedelta(days=9)).requests == 0


def test_a_missing_database_is_no_traffic(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    assert what_if(LedgerReader(f"sqlite:///{file}"), "all-large", LARGE).requests == 0
    assert not file.exists()
