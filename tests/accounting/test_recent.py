from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from gateway.accounting.averages import average_usd_per_million_output
from gateway.accounting.history import average_output_price
from gateway.accounting.query import LedgerReader
from gateway.accounting.recent import attempts_of, latest_requests
from gateway.core.price import UNPRICED, Cost
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import NOON, entry, record


def cost(usd: str) -> Cost:
    return Cost(Decimal(usd), "computed", "config:gpt-4o")


def test_requests_are_listed_with_their_last_attempt_and_the_cost_of_all(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    failed = entry(request_id="b", ts=NOON, outcome="timeout", usage=None, cost=UNPRICED)
    small = entry(request_id="c", ts=NOON + timedelta(seconds=2), tier="small", cost=cost("0.1"))
    large = entry(request_id="c", ts=NOON + timedelta(seconds=3), attempt=2, cost=cost("0.02"))
    unknown = entry(request_id="d", ts=NOON + timedelta(seconds=4), cost=UNPRICED)
    record(url, entry(request_id="a", ts=NOON - timedelta(1)), failed, small, large, unknown)
    reader = LedgerReader(url)
    found = latest_requests(reader, 3)
    assert [one["request_id"] for one in found] == ["d", "c", "b"]
    assert [one["cost_usd"] for one in found] == [None, "0.12", None]
    assert [(one["attempts"], one["tier"]) for one in found][1] == (2, "large")
    assert [row["attempt"] for row in attempts_of(reader, "c")] == [1, 2]
    assert attempts_of(reader, "c")[0]["cost_usd"] == "0.1"
    assert attempts_of(reader, "none") == []


def test_a_request_is_one_line_whatever_came_between_its_attempts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    other = entry(request_id="b", ts=NOON + timedelta(seconds=1))
    attempts = [
        entry(request_id="a", ts=NOON + timedelta(seconds=2 * at), attempt=at + 1, cost=cost("0.1"))
        for at in range(2)
    ]
    record(url, *attempts, other)
    found = latest_requests(LedgerReader(url), 3)
    assert [(one["request_id"], one["attempts"]) for one in found] == [("a", 2), ("b", 1)]
    assert found[0]["cost_usd"] == "0.2"


def test_without_a_ledger_there_is_nothing(tmp_path: Path) -> None:
    reader = LedgerReader(f"sqlite:///{tmp_path / 'none.db'}")
    assert latest_requests(reader, 3) == attempts_of(reader, "a") == []
    assert average_usd_per_million_output(reader, "gpt-4o") is None


def test_an_average_from_the_totals_is_that_of_the_rows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    record(url, *(entry(usage=Usage(5, 7 * n), cost=cost(f"0.00{n}7")) for n in range(1, 6)))
    reader = LedgerReader(url)
    expected = average_output_price(reader, "gpt-4o")
    assert average_usd_per_million_output(reader, "gpt-4o") == expected
    assert expected is not None
    # A day with calls of unknown cost says nothing of what its tokens cost.
    record(url, entry(ts=NOON + timedelta(days=1), usage=Usage(5, 900), cost=UNPRICED))
    assert average_usd_per_million_output(reader, "gpt-4o") == expected
