"""The newest rows by any filter, against a plain scan of the same rows."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from gateway.accounting.query import LedgerReader
from tests.accounting.ledger_entries import NOON, entry, record

MODELS = {"gpt-4o": "large", "o3": "large", "smollm2": "small"}


@pytest.fixture(scope="module")
def reader(new_ledger_url: Callable[[], str]) -> LedgerReader:
    """Three hundred calls at forty moments over ten days, some of them the same moment."""
    chance = random.Random(3)
    calls = []
    for place in range(300):
        deployment = chance.choice(list(MODELS))
        calls.append(
            entry(
                request_id=f"r{place // 2}",
                attempt=1 + place % 2,
                ts=NOON + timedelta(hours=6 * chance.randrange(40)),
                key_id=chance.choice(["k1", "k2", None]),
                deployment=deployment,
                model_served=chance.choice([None, deployment, f"{deployment}-new"]),
                tier=MODELS[deployment],
                tags=dict(
                    chance.sample([("team", "a"), ("env", "prod"), ("n", str(place % 9))], 2)
                ),
            )
        )
    url = new_ledger_url()
    record(url, *calls)
    return LedgerReader(url)


def matches(row: dict[str, Any], filters: dict[str, Any]) -> bool:
    name, _, value = filters.get("tag", "").partition("=")
    served = (row["deployment"], row["model_served"])
    return (
        ("tag" not in filters or row["tags"].get(name) == value)
        and ("key" not in filters or row["key_id"] == filters["key"])
        and ("tier" not in filters or row["tier"] == filters["tier"])
        and ("model" not in filters or filters["model"] in served)
        and ("since" not in filters or row["ts"] >= filters["since"].isoformat())
        and ("until" not in filters or row["ts"] < filters["until"].isoformat())
    )


@pytest.mark.parametrize("limit", [None, 1, 7])
@pytest.mark.parametrize(
    "interval", [{}, {"since": NOON + timedelta(days=3), "until": NOON + timedelta(days=7)}]
)
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"tag": "team=a"},
        {"tag": "n=4"},
        {"tag": "n=none"},
        {"key": "k1"},
        {"tier": "small"},
        {"tier": "large"},
        {"model": "o3"},
        {"model": "o3-new"},
        {"model": "nobody"},
        {"model": "o3", "tier": "small"},
        {"key": "k2", "tag": "env=prod", "tier": "large"},
    ],
)
def test_any_filter_finds_what_a_scan_finds(
    reader: LedgerReader, filters: dict[str, Any], interval: dict[str, Any], limit: int | None
) -> None:
    asked = filters | interval
    every = [row for row in reader.rows(limit=None) if matches(row, asked)]
    assert reader.rows(limit=limit, **asked) == every[:limit]
    in_batches = list(reader.batches(size=10, limit=limit, **asked))
    assert [row for batch in in_batches for row in batch] == every[:limit]
    assert all(len(batch) <= 10 for batch in in_batches)
