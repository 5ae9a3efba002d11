"""Many rows in few statements, past SQLAlchemy's compiler, which takes longer than a database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Dialect

#: Parameters of one statement: 25 rows of the ledger, which every SQLite takes. SQLite gives
#: Python's lock away at every statement, and a busy event loop may be slow to give it back: 500
#: single rows take 0.6 s then, 20 statements 0.1 s.
_PARAMETERS = 1100


def insert_many(
    connection: Connection,
    table: sa.Table,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    on_conflict: str = "",
) -> None:
    """Insert rows of plain values (moments as ISO-8601 text) in their order.

    PostgreSQL takes them as one array a column, SQLite as lists of values.
    """
    names = tuple(columns)
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        values = zip(names, zip(*rows, strict=True), strict=True)
        arrays = tuple(_array(table.c[name], column) for name, column in values)
        connection.exec_driver_sql(_from_arrays(table, names) + on_conflict, arrays)
        return
    at_once = _PARAMETERS // len(names)
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        statement = _from_values(table, names, len(part)) + on_conflict
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))


def _array(column: sa.Column[Any], values: Sequence[Any]) -> list[Any]:
    """Values of one type, as the driver wants them in an array: no ints or enums in between."""
    if isinstance(column.type, sa.Double):
        return [None if value is None else float(value) for value in values]
    return [str(value) if isinstance(value, str) else value for value in values]


@lru_cache(maxsize=256)
def _from_values(table: sa.Table, columns: tuple[str, ...], rows: int) -> str:
    one = f"({', '.join('?' * len(columns))})"
    return f"{_into(table, columns)} VALUES {', '.join([one] * rows)}"


@lru_cache(maxsize=64)
def _from_arrays(table: sa.Table, columns: tuple[str, ...]) -> str:
    dialect: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = (table.c[name].type.compile(dialect=dialect) for name in columns)
    arrays = ", ".join(f"%s::{type_}[]" for type_ in types)
    return f"{_into(table, columns)} SELECT * FROM unnest({arrays})"  # noqa: S608 (our own names)


def _into(table: sa.Table, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table.name} ({', '.join(columns)})"
