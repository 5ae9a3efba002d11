"""The steps lead to the tables that the code uses, on a path with odd characters too."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gateway.accounting.access import tables
from gateway.accounting.database import metadata, open_for_writing
from gateway.accounting.migrations import migrate


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
