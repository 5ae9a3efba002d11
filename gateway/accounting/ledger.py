"""The spend log: entries are queued at once and written by a thread, each exactly once."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from gateway.core.entry import LedgerEntry
from gateway.core.errors import LedgerUnavailable

if TYPE_CHECKING:  # SQLAlchemy is loaded by the writer thread
    from sqlalchemy.engine import Engine

_log = logging.getLogger("gateway.ledger")

T = TypeVar("T")

_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 5.0
_RETENTION_EVERY_S = 3600.0
_DELETED_AT_ONCE = 5000


@dataclass(slots=True, frozen=True)
class _Waiter:
    """Somebody who waits until everything queued before is on disk."""

    loop: asyncio.AbstractEventLoop
    written: asyncio.Future[None]

    def tell(self, act: Callable[[asyncio.Future[None]], object]) -> None:
        def once() -> None:
            if not self.written.done():
                act(self.written)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(once)


class Ledger:
    """A sink that writes to SQLite or PostgreSQL, and never makes a request wait.

    A row is in the database at most `flush_interval_s` plus one write after `put`. While the
    database is locked, full or away, rows wait in memory and writing is tried again; beyond
    `queue_size` waiting rows further ones are dropped, counted and logged.
    """

    def __init__(
        self,
        url: str,
        *,
        queue_size: int = 10_000,
        flush_interval_s: float = 0.5,
        batch_size: int = 500,
        durable: bool = False,
        retention_days: int | None = None,
    ) -> None:
        """`durable` writes at once; rows older than `retention_days` are deleted (None: never)."""
        self._url = url
        self._queue_size = queue_size
        self._flush_interval_s = flush_interval_s
        self._batch_size = batch_size
        self._durable = durable
        self._retention = None if retention_days is None else timedelta(days=retention_days)
        self._waiting: deque[LedgerEntry | _Waiter] = deque()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._abandoned = threading.Event()
        self._dropped = 0
        self._dropping = False
        self._problem: str | None = "the ledger's database is being opened"
        self._next_retention_s = 0.0
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    @property
    def dropped(self) -> int:
        """How many entries were lost because the queue was full or the ledger had stopped."""
        return self._dropped

    def not_ready(self) -> str | None:
        """Why rows can't be written now, in one clause; None when they can."""
        return self._problem

    def start(self) -> None:
        """Open the database and begin writing, in the background."""
        self._thread.start()

    def put(self, entry: LedgerEntry) -> None:
        """Queue one entry, which nobody may change any more; never blocks and never raises."""
        waiting = self._waiting
        if len(waiting) >= self._queue_size or self._closed.is_set():
            self._drop(1, "its queue is full" if not self._closed.is_set() else "it has stopped")
            return
        waiting.append(entry)
        if (self._durable or len(waiting) >= self._batch_size) and not self._wake.is_set():
            self._wake.set()

    async def wait_written(self) -> None:
        """Return once every entry that was put before is in the database.

        Raises LedgerUnavailable when the ledger ends first.
        """
        if self._closed.is_set():
            raise _ended()
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop, loop.create_future())
        self._waiting.append(waiter)
        self._wake.set()
        await waiter.written

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what is queued, for at most `timeout_s`, then end; later entries are dropped."""
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
            self._abandoned.set()
            self._thread.join(1.0)
        left = [item for item in self._waiting if isinstance(item, LedgerEntry)]
        for item in self._waiting:
            if isinstance(item, _Waiter):
                item.tell(lambda written: written.set_exception(_ended()))
        if left:
            self._drop(len(left), f"{len(left)} were still queued when it ended ({self._problem})")

    def _run(self) -> None:
        engine = self._retried(self._open)
        if engine is None:
            return
        try:
            while not self._abandoned.is_set():
                self._wake.wait(self._flush_interval_s)
                self._wake.clear()
                closed = self._closed.is_set()
                self._write_waiting(engine)
                if closed:
                    return
                self._apply_retention(engine)
        finally:
            engine.dispose()

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

    def _write_waiting(self, engine: Engine) -> None:
        """Write batch after batch until nothing waits; a row leaves the queue once it is stored."""
        while self._waiting and not self._abandoned.is_set():
            batch = [self._waiting[i] for i in range(min(len(self._waiting), self._batch_size))]
            entries = [item for item in batch if isinstance(item, LedgerEntry)]
            if entries and not self._retried(lambda: self._write(engine, entries)):  # noqa: B023 (called at once)
                return
            for item in batch:
                self._waiting.popleft()
                if isinstance(item, _Waiter):
                    item.tell(lambda written: written.set_result(None))
        if self._dropping and not self._waiting:
            self._dropping = False
            _log.error("the ledger has lost %d rows since it started", self._dropped)

    def _write(self, engine: Engine, entries: Sequence[LedgerEntry]) -> bool:
        """Write one batch; a row that no database would take is dropped alone, with a log line."""
        from gateway.accounting.writing import write_entries

        try:
            already = write_entries(engine, entries)
        except Exception as error:
            if not _is_faulty_row(error):
                raise
            if len(entries) == 1:
                self._drop(1, f"the database refuses the row: {_reason(error)}")
                return True
            return all(self._write(engine, [entry]) for entry in entries)
        if already:
            _log.warning("%d ledger rows were in the database already", already)
        return True

    def _retried(self, action: Callable[[], T]) -> T | None:
        """Act until it works, with growing pauses; None once the ledger is abandoned."""
        wait_s = _FIRST_WAIT_S
        while not self._abandoned.is_set():
            try:
                result = action()
            except Exception as error:
                problem = f"the ledger's database can't be written: {_reason(error)}"
                if problem != self._problem:
                    _log.error("%s; %d rows wait", problem, len(self._waiting))
                self._problem = problem
                self._abandoned.wait(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            else:
                self._problem = None
                return result
        return None

    def _apply_retention(self, engine: Engine) -> None:
        """Delete old rows once an hour, a slice between two flushes, so that none waits long."""
        if self._retention is None or time.monotonic() < self._next_retention_s:
            return
        from gateway.accounting.writing import delete_before

        cutoff = datetime.now(UTC) - self._retention
        if not self._retried(lambda: delete_before(engine, cutoff, _DELETED_AT_ONCE)):
            self._next_retention_s = time.monotonic() + _RETENTION_EVERY_S

    def _drop(self, count: int, why: str) -> None:
        """Count lost rows; one log line, until rows can be written again."""
        self._dropped += count
        if not self._dropping:
            _log.error("the ledger loses rows: %s", why)
        self._dropping = True


def _ended() -> LedgerUnavailable:
    return LedgerUnavailable("The ledger has ended, so the call can't be recorded.")


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
