"""Tags in the totals: bounded in number, and no call is lost to the bound."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.accounting.daily_tags import NAMES_A_DAY, OTHER, VALUES_A_DAY
from gateway.accounting.database import open_for_reading
from gateway.accounting.query import LedgerReader
from gateway.accounting.totals import daily_tag_totals, ledger_tags
from tests.accounting.ledger_entries import NOON, entry, record, running

USERS = VALUES_A_DAY + 30


def calls_by(reader: LedgerReader, by: str, **filters: Any) -> dict[str | None, int]:
    return {row[by]: row["calls"] for row in reader.summary(by, **filters)}


@pytest.fixture
def reader(ledger_url: str) -> LedgerReader:
    """A user a call; those who come late on the first day are the first ones of the next."""
    users = [
        entry(
            request_id=f"{day}-{user}",
            ts=NOON + timedelta(days=day, seconds=user),
            key_id=f"k{user % 2}",
            tags={"user": f"{user:03}", "team": "search"},
        )
        for day, order in enumerate((range(USERS), reversed(range(USERS))))
        for user in order
    ]
    for start in range(0, len(users), 50):
        record(ledger_url, *users[start : start + 50])
    return LedgerReader(ledger_url)


def test_a_tag_a_request_folds_into_other(reader: LedgerReader, ledger_url: str) -> None:
    groups = calls_by(reader, "tag")
    assert groups["team=search"] == 2 * USERS
    assert groups[f"user={OTHER}"] == 2 * (USERS - VALUES_A_DAY)
    assert sum(calls for tag, calls in groups.items() if (tag or "").startswith("user=")) == (
        2 * USERS
    )
    engine = open_for_reading(ledger_url)
    assert engine is not None
    with engine.connect() as connection:
        count = sa.select(sa.func.count()).select_from(daily_tag_totals)
        assert connection.scalar(count) == 2 * (VALUES_A_DAY + 2)


@pytest.mark.parametrize("user", [0, 50, USERS - 1])
@pytest.mark.parametrize("by", ["day", "tier", "key", "model"])
def test_a_filter_by_tag_is_exact_on_days_that_folded_it(
    reader: LedgerReader, user: int, by: str
) -> None:
    assert sum(calls_by(reader, by, tag=f"user={user:03}").values()) == 2
    assert sum(calls_by(reader, by, tag="team=search").values()) == 2 * USERS


def test_a_tag_that_stands_for_others_can_be_asked_for(reader: LedgerReader) -> None:
    found = calls_by(reader, "day", tag=f"user={OTHER}")
    assert set(found.values()) == {USERS - VALUES_A_DAY}


def test_names_are_bounded_too(ledger_url: str) -> None:
    record(
        ledger_url,
        *(entry(request_id=f"r{n}", tags={f"name{n:02}": "x"}) for n in range(NAMES_A_DAY + 5)),
    )
    groups = calls_by(LedgerReader(ledger_url), "tag")
    assert groups.pop(OTHER) == 5
    assert len(groups) == NAMES_A_DAY


def test_a_call_counts_once_under_a_stand_in(ledger_url: str) -> None:
    many = {f"n{place:02}": "v" for place in range(NAMES_A_DAY)}
    for name, value in many.items():
        record(ledger_url, entry(tags={name: value}))
    record(ledger_url, entry(tags={"late": "1", "later": "2"}))
    assert calls_by(LedgerReader(ledger_url), "tag")[OTHER] == 1


def test_two_writers_admit_the_same_tags(ledger_url: str) -> None:
    with running(ledger_url) as one, running(ledger_url) as other:
        for place in range(USERS):
            for name, writer in (("a", one), ("b", other)):
                writer.put(entry(request_id=f"{name}{place}", tags={"user": f"{place}"}))
    groups = calls_by(LedgerReader(ledger_url), "tag")
    assert len(groups) == VALUES_A_DAY + 1
    assert {calls for tag, calls in groups.items() if tag != f"user={OTHER}"} == {2}


def test_the_index_of_tags_goes_with_the_rows(ledger_url: str) -> None:
    record(ledger_url, entry(request_id="old", tags={"team": "a", "user": "1"}))
    with running(ledger_url, retention_days=1) as ledger:
        ledger.put(entry(request_id="new", ts=NOON + timedelta(days=3650), tags={"team": "a"}))
    engine = open_for_reading(ledger_url)
    assert engine is not None
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(ledger_tags)) == 1
    reader = LedgerReader(ledger_url)
    assert [row["request_id"] for row in reader.rows(tag="team=a")] == ["new"]
    assert calls_by(reader, "tag") == {"team=a": 2, "user=1": 1}
