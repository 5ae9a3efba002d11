"""The ledger's schema over time: one file a step, applied when a ledger is opened."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Engine

#: Any number that nobody else's advisory lock in the same database uses.
_ADVISORY_LOCK = 0x510_6A7E

#: Alembic's environment is a module-wide object.
_one_thread = threading.Lock()


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema; safe when several processes start at once.

    The write lock (SQLite) or an advisory lock (PostgreSQL) is held for the whole step, so the
    second process finds the work done.
    """
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    with _one_thread, engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _write_ahead(engine: Engine) -> None:
    """Let readers and a writer work side by side; the mode can't change inside a transaction."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()
