"""Answers of the Responses API, kept beside the ledger: a key sees those that it made itself."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from gateway.core.errors import (
    ContextTooLong,
    InvalidRequest,
    LedgerUnavailable,
    ResponseNotFound,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine, Row
    from sqlalchemy.sql import ColumnElement, FromClause

Json = dict[str, Any]

#: Calls that a server's connections allow at once.
CONNECTIONS = 4
#: A conversation of more responses, or of more characters of JSON, is refused.
MOST_TURNS = 1000
MOST_CHARACTERS = 32_000_000

_ID = re.compile(r"resp_[0-9a-f]{32}")


@dataclass(slots=True, frozen=True)
class KeptResponse:
    """A response as JSON text, and the items that its own request brought."""

    response_id: str
    key_id: str | None
    previous_response_id: str | None
    input_items: str
    response: str


class ResponseStore:
    """Keeps responses for `retention_days` (None: for ever). Its methods block: call from threads.

    Each raises LedgerUnavailable where the database is away.
    """

    def __init__(self, url: str, *, durable: bool = False, retention_days: int | None = 30) -> None:
        self._url = url
        self._durable = durable
        self._retention = None if retention_days is None else timedelta(days=retention_days)
        self._writer: Engine | None = None
        self._reader: Engine | None = None
        self._opening = threading.Lock()

    def add(self, kept: KeptResponse) -> None:
        """Keep one response."""
        import sqlalchemy as sa

        from gateway.accounting.database import responses

        now = datetime.now(UTC)
        row = {
            "id": kept.response_id,
            "ts": now,
            "key_id": kept.key_id,
            "previous_response_id": kept.previous_response_id,
            "input_items": kept.input_items,
            "response": kept.response,
            "expires": None if self._retention is None else now + self._retention,
        }
        with _told("written"), self._open()[0].begin() as connection:
            connection.execute(sa.insert(responses), row)

    def find(self, response_id: str, key_id: str | None) -> KeptResponse:
        """One response. Raises ResponseNotFound."""
        import sqlalchemy as sa

        from gateway.accounting.database import responses

        statement = sa.select(responses).where(_is(responses, response_id, key_id))
        row = None
        if _ID.fullmatch(response_id):
            with _told("read"), self._open()[1].connect() as connection:
                row = connection.execute(statement).one_or_none()
        if row is None:
            raise _not_found(response_id)
        return KeptResponse(
            row.id, row.key_id, row.previous_response_id, row.input_items, row.response
        )

    def conversation(self, response_id: str, key_id: str | None) -> list[Json]:
        """All items up to a response, inputs and outputs in order.

        Raises InvalidRequest where the response, or one before it, isn't kept, and ContextTooLong.
        """
        chain: Sequence[Row[Any]] = ()
        if _ID.fullmatch(response_id):
            with _told("read"), self._open()[1].connect() as connection:
                chain = _chain(connection, response_id, key_id)
        if not chain:
            raise _no_previous(f"Previous response with id '{response_id[:64]}' not found.")
        oldest = chain[-1]
        if oldest.size > MOST_CHARACTERS or oldest.turn >= MOST_TURNS:
            raise ContextTooLong(
                "The conversation before this request is too long.", param="previous_response_id"
            )
        if oldest.previous_response_id is not None:
            raise _no_previous(
                f"The response '{oldest.previous_response_id}', on which '{response_id}' builds, "
                "is not stored any more."
            )
        items: list[Json] = []
        for row in reversed(chain):
            items += orjson.loads(row.input_items)
            items += orjson.loads(row.response)["output"]
        return items

    def delete(self, response_id: str, key_id: str | None) -> None:
        """Forget one response. Raises ResponseNotFound."""
        import sqlalchemy as sa

        from gateway.accounting.database import responses

        deleted = 0
        if _ID.fullmatch(response_id):
            statement = sa.delete(responses).where(_is(responses, response_id, key_id))
            with _told("written"), self._open()[0].begin() as connection:
                deleted = connection.execute(statement).rowcount
        if not deleted:
            raise _not_found(response_id)

    def close(self) -> None:
        """Close the database."""
        for engine in (self._writer, self._reader):
            if engine is not None:
                engine.dispose()

    def _open(self) -> tuple[Engine, Engine]:
        """What writes and what reads."""
        from gateway.accounting.database import open_for_reading, open_for_writing
        from gateway.accounting.migrations import migrate

        with self._opening:
            if self._writer is None or self._reader is None:
                writer = open_for_writing(self._url, durable=self._durable, connections=CONNECTIONS)
                migrate(writer)
                is_server = writer.dialect.name == "postgresql"
                # In SQLite a reader of its own never waits for a writer.
                self._reader = writer if is_server else open_for_reading(self._url) or writer
                self._writer = writer
            return self._writer, self._reader


@contextmanager
def _told(done: str) -> Iterator[None]:
    """The driver's errors as LedgerUnavailable."""
    from sqlalchemy.exc import SQLAlchemyError

    from gateway.accounting.database import driver_reason

    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, ValueError, ImportError) as error:
        raise LedgerUnavailable(
            f"Stored responses can't be {done}: {driver_reason(error)}."
        ) from error


def _not_found(response_id: str) -> ResponseNotFound:
    return ResponseNotFound(f"Response with id '{response_id[:64]}' not found.")


def _no_previous(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="previous_response_id", code="previous_response_not_found")


def _is(table: FromClause, response_id: Any, key_id: str | None) -> ColumnElement[bool]:
    """Whether a row is that response, made by this key, and its time not over."""
    import sqlalchemy as sa

    same_key = table.c.key_id.is_(None) if key_id is None else table.c.key_id == key_id
    lasts = table.c.expires.is_(None) | (table.c.expires > datetime.now(UTC))
    return sa.and_(table.c.id == response_id, same_key, lasts)


def _chain(connection: Connection, response_id: str, key_id: str | None) -> Sequence[Row[Any]]:
    """A response and the ones before it, newest first, as far as the limits allow.

    `turn` counts from 0; `size` is the characters so far.
    """
    import sqlalchemy as sa

    from gateway.accounting.database import responses

    def found(table: FromClause, turn: Any, size: Any) -> sa.Select[Any]:
        columns = [table.c[name] for name in ("previous_response_id", "input_items", "response")]
        own_size = sa.func.length(table.c.input_items) + sa.func.length(table.c.response)
        return sa.select(*columns, turn.label("turn"), (size + own_size).label("size"))

    zero = sa.cast(sa.literal(0), sa.Integer)
    first = found(responses, zero, zero).where(_is(responses, response_id, key_id))
    chain = first.cte("chain", recursive=True)
    earlier = responses.alias("earlier")
    before = found(earlier, chain.c.turn + 1, chain.c.size).where(
        _is(earlier, chain.c.previous_response_id, key_id),
        chain.c.turn < MOST_TURNS,
        chain.c.size <= MOST_CHARACTERS,
    )
    chain = chain.union_all(before)
    return connection.execute(sa.select(chain).order_by(chain.c.turn)).all()
