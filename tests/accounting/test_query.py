"""Questions to the ledger, over rows that a real ledger wrote to each kind of database."""

import itertools
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.accounting.database import open_for_writing
from gateway.accounting.query import GROUPINGS, LedgerReader
from gateway.accounting.writing import delete_before
from gateway.core.errors import LedgerUnavailable
from gateway.core.price import UNPRICED, Cost
from tests.accounting.ledger_entries import NOON, entry, record


def cost(usd: str) -> Cost:
    return Cost(Decimal(usd), "computed", "p")


@pytest.fixture(scope="module")
def reader(new_ledger_url: Callable[[], str]) -> LedgerReader:
    """Four calls: two days, two tiers, two keys, one of them unpriced, one that failed."""
    url = new_ledger_url()
    record(
        url,
        entry(request_id="a", key_id="k1", tags={"team": "search", "env": "prod"}),
        entry(
            request_id="b",
            ts=NOON + timedelta(days=1),
            deployment="smollm2",
            model_served="smollm2-135m",
            tier="small",
            key_id="k2",
            cost=cost("0.000001"),
            tags={"team": "Search"},
        ),
        entry(request_id="c", ts=NOON + timedelta(hours=1), cost=UNPRICED, key_id="k1"),
        entry(
            request_id="d",
            ts=NOON + timedelta(hours=2),
            usage=None,
            cost=UNPRICED,
            outcome="upstream_error",
            status=503,
        ),
    )
    return LedgerReader(url)


def ids(reader: LedgerReader, **filters: Any) -> str:
    return "".join(row["request_id"] for row in reader.rows(**filters))


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "bdca"),
        ({"limit": 2}, "bd"),
        ({"limit": None}, "bdca"),
        ({"since": NOON + timedelta(hours=1)}, "bdc"),
        ({"until": NOON + timedelta(hours=1)}, "a"),
        ({"since": date(2026, 3, 2)}, "b"),
        ({"since": datetime(2026, 3, 1, 14)}, "bd"),
        ({"key": "k1"}, "ca"),
        ({"tier": "small"}, "b"),
        ({"model": "smollm2"}, "b"),
        ({"model": "smollm2-135m"}, "b"),
        ({"tag": "team=search"}, "a"),
        ({"tag": "env=prod"}, "a"),
        ({"tag": "team=sea"}, ""),
        ({"tag": "am=search"}, ""),
        ({"tag": "team"}, ""),
        ({"tag": "team=%"}, ""),
        ({"key": "k1", "since": NOON + timedelta(minutes=1)}, "c"),
        ({"since": None, "key": None, "tag": None}, "bdca"),
    ],
)
def test_filters_and_order(reader: LedgerReader, filters: dict[str, Any], found: str) -> None:
    assert ids(reader, **filters) == found


def test_sums_by_model_are_exact_and_say_what_they_leave_out(reader: LedgerReader) -> None:
    assert reader.summary("model") == [
        {
            "model": "gpt-4o",
            "calls": 3,
            "prompt_tokens": 20,
            "completion_tokens": 40,
            "cost_usd": "0.00000625",
            "unpriced": 1,
            "energy_wh": None,
            "co2_g": None,
        },
        {
            "model": "smollm2",
            "calls": 1,
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "cost_usd": "0.000001",
            "unpriced": 0,
            "energy_wh": None,
            "co2_g": None,
        },
    ]


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("tier", {"large": 3, "small": 1}),
        ("key", {"k1": 2, "k2": 1, None: 1}),
        ("day", {"2026-03-01": 3, "2026-03-02": 1}),
        ("tag", {"team=search": 1, "env=prod": 1, "team=Search": 1, None: 2}),
    ],
)
def test_every_grouping_counts_each_call(
    reader: LedgerReader, by: str, groups: dict[str | None, int]
) -> None:
    assert {row[by]: row["calls"] for row in reader.summary(by)} == groups


def test_rows_and_daily_totals_give_the_same_sums(reader: LedgerReader) -> None:
    whole_days = {"since": date(2026, 3, 1), "until": date(2026, 3, 3)}
    parts_of_days = {
        "since": NOON - timedelta(hours=1),
        "until": NOON + timedelta(days=1, hours=1),
    }
    for by in set(GROUPINGS) - {"tag"}:
        assert reader.summary(by, **whole_days) == reader.summary(by, **parts_of_days)  # type: ignore[arg-type]  # dates by name


def test_a_group_without_a_single_price_has_no_cost(reader: LedgerReader) -> None:
    failed = reader.summary("key", since=NOON + timedelta(hours=2), tier="large")
    assert [(row["key"], row["cost_usd"], row["unpriced"]) for row in failed] == [(None, None, 0)]
    (unpriced,) = reader.summary("model", since=NOON + timedelta(minutes=1), key="k1")
    assert (unpriced["cost_usd"], unpriced["unpriced"]) == (None, 1)


def test_an_unknown_grouping_is_refused(reader: LedgerReader) -> None:
    with pytest.raises(ValueError, match="model, tier, key, tag, day"):
        reader.summary("colour")


def test_sums_beyond_64_bits_of_pico_usd_stay_exact(ledger_url: str) -> None:
    dear = cost("8999999.000000000001")
    record(ledger_url, *(entry(cost=dear, tags={"a": "b"}) for _ in range(3)))
    reader = LedgerReader(ledger_url)
    for source in (reader.summary("model"), reader.summary("tag")):
        assert [row["cost_usd"] for row in source] == ["26999997.000000000003"]


def test_a_missing_database_is_empty_and_stays_missing(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    reader = LedgerReader(f"sqlite:///{file}")
    answers = itertools.chain(reader.rows(), *(reader.summary(by) for by in GROUPINGS))
    assert list(answers) == []
    assert not file.exists()


def test_a_database_without_a_ledger_is_empty(ledger_url: str) -> None:
    if ledger_url.startswith("sqlite"):
        Path(ledger_url.removeprefix("sqlite:///")).touch()
    assert LedgerReader(ledger_url).rows() == []


@pytest.mark.parametrize(
    "url", ["sqlite:///{}/broken.db", "postgresql://u:secret@/x?host={}", "sqlite://"]
)
def test_an_unreadable_database_is_named_without_its_password(url: str, tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(LedgerUnavailable, match="can't be read") as refused:
        LedgerReader(url.format(tmp_path)).rows()
    assert "secret" not in refused.value.message


def test_times_are_shown_in_utc(ledger_url: str) -> None:
    record(ledger_url, entry(ts=datetime.fromisoformat("2026-03-01T01:30:00.5+02:00")))
    assert LedgerReader(ledger_url).rows()[0]["ts"] == "2026-02-28T23:30:00.500000Z"
    assert [row["day"] for row in LedgerReader(ledger_url).summary("day")] == ["2026-02-28"]
    assert datetime(2026, 2, 28, tzinfo=UTC) < NOON


def test_rows_of_one_moment_are_deleted_together(ledger_url: str) -> None:
    later = NOON + timedelta(hours=1)
    record(ledger_url, entry(), entry(), entry(), entry(request_id="later", ts=later))
    engine = open_for_writing(ledger_url, durable=False)
    assert delete_before(engine, NOON + timedelta(hours=2), 1), "there is one more"
    assert [row["request_id"] for row in LedgerReader(ledger_url).rows()] == ["later"]
    assert not delete_before(engine, NOON + timedelta(hours=2), 1)
    assert LedgerReader(ledger_url).rows() == []
    engine.dispose()
