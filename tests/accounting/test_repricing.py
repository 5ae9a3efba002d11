"""Old rows at the prices of their own time and of today, over real ledgers."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.accounting.catalogue import catalogue_price
from gateway.accounting.pricing import cost_of
from gateway.accounting.query import LedgerReader
from gateway.accounting.repricing import Repriced, reprice, totals
from gateway.core.price import UNPRICED, Cost, Price
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import entry, record

BEFORE, AFTER = datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
USAGE = Usage(1_000_000, 0)


def nothing(_deployment: str) -> None:
    return None


@pytest.fixture
def ledger(ledger_url: str) -> LedgerReader:
    """o3 before and after it became cheaper, and again after it at the old price."""
    old, new = (Cost(Decimal(usd), "computed", "genai-prices:openai/o3") for usd in ("10", "2"))
    named = {"deployment": "o3", "usage": USAGE}
    record(
        ledger_url,
        entry(ts=BEFORE, cost=old, **named),
        entry(ts=AFTER, cost=new, **named),
        entry(ts=AFTER, cost=old, **named),
        entry(ts=AFTER, cost=UNPRICED, deployment="own", usage=USAGE),
        entry(ts=AFTER, cost=UNPRICED, usage=None, outcome="timeout"),
    )
    return LedgerReader(ledger_url)


def test_at_the_prices_of_their_time_only_what_was_booked_wrongly_differs(
    ledger: LedgerReader,
) -> None:
    o3, own = reprice(ledger, nothing)
    assert (o3.calls, o3.compared, o3.differing) == (3, 3, 1)
    assert [o3.booked_usd, o3.repriced_usd] == [22, 14]
    assert (own.booked_at, own.calls, own.kept) == ("unpriced", 1, 1)


def test_at_todays_prices_the_old_rows_differ_too(ledger: LedgerReader) -> None:
    today = datetime(2026, 11, 1, tzinfo=UTC)
    (o3,) = reprice(ledger, nothing, today, model="o3")
    assert [o3.differing, o3.booked_usd, o3.repriced_usd] == [2, 22, 6]
    assert reprice(ledger, nothing, today, until=BEFORE) == []


def test_what_had_no_price_may_have_one_now(ledger: LedgerReader) -> None:
    price = Price("config:own", Decimal(3), Decimal(3))
    groups = reprice(ledger, {"own": price}.get)
    own = next(group for group in groups if group.deployment == "own")
    assert [own.found, own.found_usd, own.kept, own.compared] == [1, 3, 0, 0]
    total = totals(groups)
    assert [total.calls, total.found_usd, total.booked_usd] == [4, 3, 22]


def test_what_was_billed_by_characters_or_by_the_hour_keeps_its_cost(ledger_url: str) -> None:
    price = Price(
        "config:own", usd_per_million_characters=Decimal(15), usd_per_audio_hour=Decimal(1)
    )
    spoken = {"deployment": "own", "cost": Cost(Decimal("0.015"), "computed", "config:own")}
    record(
        ledger_url,
        entry(**spoken, usage=Usage(0, 0, characters=1000)),
        entry(**spoken, usage=Usage(0, 0, audio_s=54.0)),
        entry(**spoken, usage=Usage(0, 0)),
    )
    (own,) = reprice(LedgerReader(ledger_url), {"own": price}.get)
    assert [own.calls, own.kept, own.compared, own.differing] == [3, 3, 0, 0]


def test_nothing_is_rewritten(ledger: LedgerReader) -> None:
    before = ledger.rows(limit=None)
    reprice(ledger, nothing)
    assert ledger.rows(limit=None) == before


@pytest.mark.parametrize(
    ("model", "provider", "usage"),
    [
        ("gpt-4o", "openai", Usage(1000, 10, service_tier="priority")),
        ("gpt-5", "openai", Usage(1000, 10, cached_tokens=900, service_tier="flex")),
        ("claude-sonnet-4-5", "anthropic", Usage(300_000, 10, cache_write_tokens=5)),
        (
            "claude-opus-5",
            "anthropic",
            Usage(
                5000, 10, cache_write_tokens=900, cache_write_1h_tokens=400, service_tier="batch"
            ),
        ),
        ("claude-opus-5", "anthropic", Usage(5000, 10, searches=2)),
        ("gpt-image-1", "openai", Usage(500, 900, image_input_tokens=50, image_output_tokens=900)),
        ("@cf/meta/llama-3-8b-instruct", "cloudflare", Usage(500, 900)),
        ("sonar-deep-research", "perplexity", Usage(500, 900, reasoning_tokens=400)),
    ],
)
def test_a_row_holds_all_that_it_takes_to_price_it_again(
    tmp_path: Path, model: str, provider: str, usage: Usage
) -> None:
    price = catalogue_price(model, provider)
    assert price is not None
    moment = datetime(2026, 11, 20, 12, tzinfo=UTC)
    cost = cost_of(usage, price.at(moment))
    assert cost.usd
    url = f"sqlite:///{tmp_path}/ledger.db"
    record(url, entry(ts=moment, usage=usage, cost=cost))
    (group,) = reprice(LedgerReader(url), nothing)
    assert (group.compared, group.differing, group.repriced_usd) == (1, 0, cost.usd)


def test_a_missing_ledger_has_no_rows(tmp_path: Path) -> None:
    assert reprice(LedgerReader(f"sqlite:///{tmp_path}/none.db"), nothing) == []
    assert totals([]) == Repriced("total", "")
