"""The thread that talks to the ledger's database, and may be held up there for any time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from gateway.accounting.spool import Row, Spool

if TYPE_CHECKING:  # SQLAlchemy is loaded by the thread
    from sqlalchemy.engine import Engine

    from gateway.accounting.daily_tags import DailyTags

_log = logging.getLogger("gateway.ledger")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_IDLE_S = 5.0
_RETENTION_EVERY_S = 3600.0
#: A slice that keeps no writer waiting for longer than a batch does.
_DELETED_AT_ONCE = 1000
_BETWEEN_SLICES_S = 0.05


@dataclass(slots=True, eq=False)
class Batch:
    """Rows on their way into the database. `refused` are places of rows that no database takes."""

    rows: Sequence[Row]
    stored: threading.Event = field(default_factory=threading.Event)
    refused: set[int] = field(default_factory=set)
    offered: bool = False
    withdrawn: bool = False


class DatabaseWriter:
    """Stores offered batches, again and again until it works, and drains the spool in between."""

    def __init__(
        self,
        url: str,
        spool: Spool | None,
        *,
        durable: bool,
        batch_size: int,
        retention_days: int | None,
    ) -> None:
        self._url = url
        self._spool = spool
        self._durable = durable
        self._batch_size = batch_size
        self._retention = None if retention_days is None else timedelta(days=retention_days)
        self._next_retention_s = 0.0
        self._is_deleting = False
        self._next_adoption_s = 0.0
        self._offers: SimpleQueue[Batch | None] = SimpleQueue()
        self._engine: Engine | None = None
        self._tags: DailyTags | None = None
        self._closing = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-database", daemon=True)
        self.problem: str | None = None
        self.was_open = False
        self.written = 0
        self.lost = 0

    def start(self) -> None:
        """Open the database, in the background."""
        self._thread.start()

    def offer(self, batch: Batch) -> None:
        """Hand a batch over; its `stored` is set once it is in the database."""
        batch.offered = True
        self._offers.put(batch)

    def withdraw(self, batch: Batch) -> None:
        """Forget a batch that is spooled, because the database didn't take it in time."""
        if batch.offered and self.problem is None:
            self.problem = "the ledger's database doesn't answer"
        batch.withdrawn = True
        self._offers.put(None)

    def stop(self, timeout_s: float) -> None:
        """Store what is spooled, for at most `timeout_s` or until something fails; then end."""
        self._closing.set()
        self._offers.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._ended.set()

    def _run(self) -> None:
        batch: Batch | None = None
        pause_s = _FIRST_PAUSE_S
        try:
            while not self._ended.is_set():
                # Looked at first: what came before the end is to be stored.
                is_last = self._closing.is_set()
                if batch is None or batch.withdrawn or batch.stored.is_set():
                    batch = self._offered()
                try:
                    is_idle = self._act(batch)
                except Exception as error:
                    self._note(error)
                    if self._closing.is_set() and (batch is None or batch.withdrawn):
                        return
                    self._ended.wait(pause_s)
                    pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                else:
                    self.problem = None
                    pause_s = _FIRST_PAUSE_S
                    if is_idle and is_last:
                        return
        finally:
            if self._engine is not None:
                self._engine.dispose()

    def _offered(self) -> Batch | None:
        """The next batch; waits for it where there is nothing else to do."""
        has_rows = self._spool is not None and self._spool.rows > 0
        is_well = self.was_open and self.problem is None
        is_idle = is_well and not has_rows and not self._closing.is_set()
        try:
            wait_s = _BETWEEN_SLICES_S if self._is_deleting else _IDLE_S
            while (batch := self._offers.get(is_idle, wait_s)) is not None and batch.withdrawn:
                pass
        except Empty:
            return None
        return batch

    def _act(self, batch: Batch | None) -> bool:
        """Do the most urgent thing; whether there was nothing to do. Raises the driver's errors."""
        if self._engine is None:
            self._engine = self._open()
            self.was_open = True
        if batch is not None and not batch.withdrawn:
            batch.refused = self._store(self._engine, batch.rows)
            batch.stored.set()
        elif self._spool is not None:
            self._adopt_at_times(self._spool)
            if rows := self._spool.next_rows(self._batch_size):
                self._store(self._engine, _completed(rows))
                self._spool.stored()
                return False
        self._apply_retention(self._engine)
        return batch is None

    def _open(self) -> Engine:
        from gateway.accounting.database import open_for_writing
        from gateway.accounting.migrations import migrate

        engine = open_for_writing(self._url, durable=self._durable)
        try:
            migrate(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _store(self, engine: Engine, rows: Sequence[Row]) -> set[int]:
        """Write rows in one transaction; the places of the ones that no database would take."""
        from gateway.accounting.daily_tags import DailyTags
        from gateway.accounting.writing import write_rows

        self._tags = self._tags or DailyTags()
        try:
            already = write_rows(engine, rows, self._tags)
        except Exception as error:
            if not _is_faulty_row(error):
                raise
            if len(rows) == 1:
                _log.error("a ledger row is lost, the database refuses it: %s", _reason(error))
                self.lost += 1
                return {0}
            return {i for i, row in enumerate(rows) if self._store(engine, [row])}
        if already:
            _log.info("%d ledger rows were in the database already", already)
        self.written += len(rows) - already
        return set()

    def _adopt_at_times(self, spool: Spool) -> None:
        if time.monotonic() >= self._next_adoption_s:
            spool.adopt()
            self._next_adoption_s = time.monotonic() + _IDLE_S

    def _apply_retention(self, engine: Engine) -> None:
        """Delete old rows once an hour, a slice between two batches, so that none waits long."""
        if time.monotonic() < self._next_retention_s:
            return
        from gateway.accounting.writing import delete_before, delete_expired

        now = datetime.now(UTC)
        more = delete_expired(engine, now, _DELETED_AT_ONCE)
        if self._retention is not None:
            more |= delete_before(engine, now - self._retention, _DELETED_AT_ONCE)
        self._is_deleting = more
        if not more:
            self._next_retention_s = time.monotonic() + _RETENTION_EVERY_S

    def _note(self, error: Exception) -> None:
        problem = f"the ledger's database can't be written: {_reason(error)}"
        if problem != self.problem:
            _log.error("%s; rows wait", problem)
        self.problem = problem


def _completed(rows: Sequence[Row]) -> list[Row]:
    """Spooled rows with every column: the version that spooled them may have had fewer."""
    from gateway.accounting.row import EMPTY_ROW

    return [EMPTY_ROW | row for row in rows]


def _reason(error: Exception) -> str:
    from gateway.accounting.database import driver_reason

    return driver_reason(error)


def _is_faulty_row(error: Exception) -> bool:
    """Whether a row itself is at fault, so that trying again can't help."""
    from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError)
    return isinstance(
        error, StatementError | TypeError | ValueError | ArithmeticError | RecursionError
    )
