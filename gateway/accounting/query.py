"""The ledger's read side: rows and summaries."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Unpack, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from gateway.accounting.database import (
    driver_reason,
    ledger,
    open_for_reading,
)
from gateway.accounting.filters import Filters, row_conditions
from gateway.accounting.newest import newest
from gateway.accounting.row import shown
from gateway.accounting.summary import sums_by
from gateway.accounting.sums import Sums
from gateway.core.errors import LedgerUnavailable

Grouping = Literal["model", "tier", "key", "tag", "day"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)


#: Connections to PostgreSQL that stay open: to make one takes longer than most questions.
_CONNECTIONS = 2


class LedgerReader:
    """Reads a ledger without ever creating one: a missing database is an empty ledger.

    Every method raises LedgerUnavailable when the database can't be read.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._has_ledger = False

    def rows(self, *, limit: int | None = 100, **filters: Unpack[Filters]) -> list[dict[str, Any]]:
        """The newest rows first, as dicts in the order of `COLUMNS`; no limit when it is None."""
        return [row for batch in self.batches(limit=limit, **filters) for row in batch]

    def batches(
        self, *, limit: int | None = None, size: int = 2000, **filters: Unpack[Filters]
    ) -> Iterator[list[dict[str, Any]]]:
        """The same rows, `size` at a time, so that a million of them take little memory.

        Each batch is a query of its own: nothing stays locked while one is made use of.
        """
        last: sa.Row[Any] | None = None
        while limit is None or limit > 0:
            most = size if limit is None else min(size, limit)
            with self.connection() as connection:
                found = [] if connection is None else newest(connection, filters, most, last)
            if found:
                yield [shown(row._asdict()) for row in found]
            if len(found) < most:
                return
            last = found[-1]
            limit = None if limit is None else limit - most

    def count(self, **filters: Unpack[Filters]) -> int:
        """About how many rows `batches` gives without a limit, from the totals where they serve.

        Totals also count rows that are deleted.
        """
        return sum(group["calls"] for group in self.summary("day", **filters))

    def kept(self, **filters: Unpack[Filters]) -> int:
        """How many rows the filters admit that aren't deleted."""
        rows = sa.select(sa.func.count()).select_from(ledger).where(*row_conditions(filters))
        with self.connection() as connection:
            return 0 if connection is None else int(connection.scalar(rows) or 0)

    def summary(
        self, by: str, *, limit: int | None = None, **filters: Unpack[Filters]
    ) -> list[dict[str, Any]]:
        """Calls, tokens, cost and energy a group: `{by, calls, prompt_tokens, …, cost_usd, …}`.

        At most `limit` groups; all where it is None.

        Days come in order, other groups the dearest first. `cost_usd` is None where no call was
        priced; `unpriced` counts the calls that used tokens without a price; `energy_wh` and
        `co2_g` are None where nobody knows them. With by="tag" a row counts under each of its
        tags; of a name with very many values a day the later ones are summed as `NAME=(other)`.
        Whole days are read from the daily totals, so they reach further back than the rows; parts
        of days, the filters `router` and `policy`, and a tag together with a key and a model or
        tier are summed from rows. Raises ValueError for an unknown grouping.
        """
        if by not in GROUPINGS:
            raise ValueError(f"by must be one of {', '.join(GROUPINGS)}")
        order, dearest = (_by_name, None) if by == "day" else (_dearest_first, limit)
        with self.connection() as connection:
            sums = {} if connection is None else sums_by(connection, by, filters, dearest)
        ordered = sorted(sums.items(), key=order)
        return [{by: name, **totals.shown()} for name, totals in ordered[:limit]]

    @contextmanager
    def connection(self) -> Iterator[Connection | None]:
        """A connection for other readers of the same database; None where there is no ledger."""
        if self._engine is None:
            try:
                self._engine = open_for_reading(self._url, connections=_CONNECTIONS)
            except (ValueError, ImportError, sa.exc.SQLAlchemyError) as error:
                raise _unreadable(error) from error
            if self._engine is None:
                yield None
                return
            weakref.finalize(self, self._engine.dispose)
        try:
            with self._engine.connect() as connection:
                self._has_ledger = self._has_ledger or sa.inspect(connection).has_table(ledger.name)
                yield connection if self._has_ledger else None
        except sa.exc.SQLAlchemyError as error:
            raise _unreadable(error) from error


def _unreadable(error: Exception) -> LedgerUnavailable:
    return LedgerUnavailable(f"The ledger can't be read: {driver_reason(error)}.")


def _by_name(item: tuple[str | None, Sums]) -> str:
    return item[0] or ""


def _dearest_first(item: tuple[str | None, Sums]) -> tuple[int, int, str]:
    return (-item[1].cost_pico, -item[1].calls, item[0] or "")
