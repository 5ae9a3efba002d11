"""The steps lead to the tables that the code uses, on a path with odd characters too."""

from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from gateway.accounting import migrations
from gateway.accounting.access import tables
from gateway.accounting.database import metadata, open_for_writing
from gateway.accounting.migrations import migrate
from gateway.accounting.overview import Overview
from gateway.accounting.query import GROUPINGS, LedgerReader
from tests.accounting.ledger_entries import NOON, entry, record


def test_the_steps_give_the_tables_of_the_code(ledger_url: str) -> None:
    assert tables.virtual_keys.metadata is metadata
    engine = open_for_writing(ledger_url, durable=False)
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


@pytest.mark.parametrize(("durable", "level"), [(False, 1), (True, 2)])
def test_sqlite_writes_ahead_and_syncs_as_asked(tmp_path: Path, durable: bool, level: int) -> None:
    engine = open_for_writing(f"sqlite:///{tmp_path}/100% odd é.db", durable=durable)
    migrate(engine)
    with engine.connect() as connection:
        asked = [f"PRAGMA {name}" for name in ("journal_mode", "synchronous", "busy_timeout")]
        values = [connection.exec_driver_sql(one).scalar_one() for one in asked]
    engine.dispose()
    assert values == ["wal", level, 5000]


def test_rows_of_an_older_ledger_are_summed(ledger_url: str) -> None:
    calls = [
        entry(
            request_id=f"r{place}",
            ts=NOON + timedelta(hours=place),
            key_id=f"k{place % 3}",
            score=place / 100,
            policy="balanced",
            latency_ms=place + 1.0,
            tags={"user": str(place % 60)} if place % 4 else {},
        )
        for place in range(100)
    ]
    record(ledger_url, *calls)
    interval = (NOON - timedelta(days=9), NOON + timedelta(days=9))

    def shown() -> list[object]:
        reader = LedgerReader(ledger_url)
        overview = Overview(reader)
        return [
            *(reader.summary(by) for by in GROUPINGS),
            [row["request_id"] for row in reader.rows(tag="user=7")],
            overview.spend(*interval, "hour"),
            overview.spend(*interval, "day"),
            overview.latency(*interval),
            overview.scores(*interval),
        ]

    before = shown()
    engine = open_for_writing(ledger_url, durable=False)
    with engine.begin() as connection:
        steps = Config()
        steps.set_main_option("script_location", str(Path(migrations.__file__).parent))
        steps.attributes["connection"] = connection
        command.downgrade(steps, "0005")
    migrate(engine)
    engine.dispose()
    assert shown() == before
