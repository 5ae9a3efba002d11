"""What users say of answers: kept beside the ledger, the newest of a request counts."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.core.errors import LedgerUnavailable, RequestNotFound

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


class FeedbackBook:
    """Writes feedback. Its method blocks: call it from a thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._opening = threading.Lock()

    def add(
        self, request_id: str, score: float, comment: str | None = None, key_id: str | None = None
    ) -> None:
        """Keep a score (0 useless, 1 right) for a request that this key has made.

        Raises RequestNotFound, or LedgerUnavailable.
        """
        from sqlalchemy.exc import SQLAlchemyError

        from gateway.accounting.database import driver_reason, open_for_reading

        try:
            engine = self._open()
            reader = open_for_reading(self._url) or engine  # never waits for a writer
            if not _is_known(reader, request_id, key_id):
                raise RequestNotFound(
                    f"The ledger has no request '{request_id[:64]}' of this key.",
                    param="request_id",
                )
            _insert(engine, request_id, score, comment, key_id)
        except (SQLAlchemyError, sqlite3.Error, ValueError, ImportError) as error:
            raise LedgerUnavailable(
                f"The ledger can't be written: {driver_reason(error)}."
            ) from error

    def close(self) -> None:
        """Close the database."""
        if self._engine is not None:
            self._engine.dispose()

    def _open(self) -> Engine:
        from gateway.accounting.database import open_for_writing
        from gateway.accounting.migrations import migrate

        with self._opening:
            if self._engine is None:
                engine = open_for_writing(self._url, durable=False)
                migrate(engine)
                self._engine = engine
            return self._engine


def _is_known(reader: Engine, request_id: str, key_id: str | None) -> bool:
    import sqlalchemy as sa

    from gateway.accounting.database import ledger

    same_key = ledger.c.key_id.is_(None) if key_id is None else ledger.c.key_id == key_id
    statement = sa.select(sa.literal(1)).where(ledger.c.request_id == request_id, same_key).limit(1)
    with reader.connect() as connection:
        return connection.scalar(statement) is not None


def _insert(
    engine: Engine, request_id: str, score: float, comment: str | None, key_id: str | None
) -> None:
    import sqlalchemy as sa

    from gateway.accounting.database import feedback

    text = None if comment is None else comment.replace("\0", "\N{REPLACEMENT CHARACTER}")
    row = {"request_id": request_id, "ts": datetime.now(UTC), "score": score}
    with engine.begin() as connection:
        connection.execute(sa.insert(feedback), row | {"comment": text, "key_id": key_id})
