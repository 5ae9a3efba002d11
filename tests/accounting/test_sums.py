"""The law of the ledger: a summary is exactly the sum of its rows, whatever they are."""

import itertools
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.accounting.filters import Filters
from gateway.accounting.pricing import MAX_USD, usd_of
from gateway.accounting.query import GROUPINGS, LedgerReader
from gateway.core.price import UNPRICED, Cost
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import NOON, entry, record

costs = st.none() | st.integers(0, int(MAX_USD) * 10**12)
calls = st.fixed_dictionaries(
    {
        "cost": costs.map(
            lambda pico: UNPRICED if pico is None else Cost(usd_of(pico), "computed", "p")
        ),
        "usage": st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**6)),
        "key_id": st.sampled_from([None, "k1", "k2"]),
        "tier": st.sampled_from(["small", "large"]),
        "deployment": st.sampled_from(["a", "B"]),
        "tags": st.sampled_from([{}, {"team": "x"}, {"team": "Y"}]),
        "ts": st.sampled_from([NOON, NOON + timedelta(days=1), NOON + timedelta(days=2)]),
    }
)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(calls, min_size=1, max_size=40))
def test_a_summary_is_exactly_the_sum_of_its_rows(
    new_ledger_url: Callable[[], str], written: list[dict[str, Any]]
) -> None:
    url = new_ledger_url()
    record(url, *(entry(**one) for one in written))
    reader = LedgerReader(url)
    rows = reader.rows(limit=None)
    known = [Decimal(row["cost_usd"]) for row in rows if row["cost_usd"] is not None]
    for by in GROUPINGS:
        groups = reader.summary(by)
        assert sum(group["calls"] for group in groups) == len(written)
        amounts = [Decimal(group["cost_usd"]) for group in groups if group["cost_usd"] is not None]
        assert sum(amounts) == sum(known)
        assert bool(amounts) == bool(known), "what nobody could price is null, not 0"
        assert sum(group["unpriced"] for group in groups) == len(rows) - len(known)
        for name in ("prompt_tokens", "completion_tokens"):
            assert sum(group[name] for group in groups) == sum(row[name] for row in rows)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(calls, min_size=1, max_size=40))
def test_the_first_groups_are_the_same_whoever_cuts(
    new_ledger_url: Callable[[], str], written: list[dict[str, Any]]
) -> None:
    url = new_ledger_url()
    record(url, *(entry(**one) for one in written))
    reader = LedgerReader(url)
    part_of_a_day, tagged, plain = Filters(since=NOON), Filters(tag="team=x"), Filters()
    for by, filters in itertools.product(GROUPINGS, (part_of_a_day, tagged, plain)):
        groups = reader.summary(by, **filters)
        for limit in range(1, len(groups)):
            assert reader.summary(by, limit=limit, **filters) == groups[:limit]
