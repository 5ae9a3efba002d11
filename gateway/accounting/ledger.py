"""The spend log: entries are queued at once, and reach the database or a spool by two threads."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.accounting.database_writer import Batch, DatabaseWriter
from gateway.accounting.spool import Row, Spool
from gateway.core.entry import LedgerEntry
from gateway.core.errors import LedgerUnavailable

_log = logging.getLogger("gateway.ledger")

#: How long a batch waits for the database before it is spooled. With `flush_interval_s` and the
#: writes themselves it has to stay under the second that a crash may cost.
_PATIENCE_S = 0.25


@dataclass(slots=True, frozen=True)
class _Waiter:
    """Somebody who waits until everything queued before is safe."""

    loop: asyncio.AbstractEventLoop
    safe: asyncio.Future[None]

    def tell(self, error: LedgerUnavailable | None = None) -> None:
        def once() -> None:
            if self.safe.done():
                return
            if error is None:
                self.safe.set_result(None)
            else:
                self.safe.set_exception(error)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(once)


class Ledger:
    """A sink that writes to SQLite or PostgreSQL, and never makes a request wait.

    A row is in the database at most `flush_interval_s` plus one write after `put`. While the
    database is locked, full or away, rows go to a spool on disk and arrive later. Where the spool
    can't be written either, they wait in memory; beyond `queue_size` waiting rows further ones are
    dropped, counted and logged.
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
        spool_dir: Path | None = None,
        spool_mb: int = 256,
    ) -> None:
        """`durable` writes at once; rows older than `retention_days` are deleted (None: never).

        `spool_dir` None means beside the SQLite file, and no spool for PostgreSQL.
        """
        self._queue_size = queue_size
        self._flush_interval_s = flush_interval_s
        self._batch_size = batch_size
        self._durable = durable
        self._spool = _spool(url, spool_dir, spool_mb)
        self._database = DatabaseWriter(
            url,
            self._spool,
            durable=durable,
            batch_size=batch_size,
            retention_days=retention_days,
        )
        self._waiting: deque[LedgerEntry | _Waiter] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._ended = False
        self._is_closed = False
        self._taken: _Taken | None = None
        self._newest_is_lost = False
        self._sweeping = threading.Lock()
        self._lost = 0
        self._losing = False
        self._is_refused = False
        self._spool_problem: str | None = None
        self._safe_until_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    @property
    def dropped(self) -> int:
        """Rows lost: the queue was full, no database takes them, or the spool is damaged."""
        return self._lost + self._database.lost + (self._spool.unreadable if self._spool else 0)

    @property
    def written(self) -> int:
        """Rows that this process has written to the database."""
        return self._database.written

    @property
    def waiting_rows(self) -> int:
        """Rows in memory, on their way to the database or the spool."""
        return sum(isinstance(item, LedgerEntry) for item in tuple(self._waiting))

    @property
    def spooled_rows(self) -> int:
        """Rows on disk that aren't in the database yet."""
        return self._spool.rows if self._spool else 0

    @property
    def spooled_bytes(self) -> int:
        """The size of the spool's files."""
        return self._spool.size_bytes if self._spool else 0

    @property
    def lag_s(self) -> float:
        """At most how long the oldest row has waited that isn't in the database; 0 without one."""
        in_memory_s = time.monotonic() - self._safe_until_s if self._waiting else 0.0
        oldest_s = self._spool.oldest_s if self._spool else None
        return max(in_memory_s, 0.0 if oldest_s is None else time.time() - oldest_s)

    @property
    def problem(self) -> str | None:
        """Why rows can't be written to the database now, in one clause; None when they can."""
        return self._database.problem

    def not_ready(self) -> str | None:
        """Why requests had better go elsewhere; None once the database was opened.

        A database that fails later leaves the gateway ready, since rows are spooled; save in
        durable mode where nothing at all can be written, so that every request would fail.
        """
        if not self._database.was_open:
            return self.problem or "the ledger's database is being opened"
        return self.degraded() if self._durable and self._spool_problem else None

    def degraded(self) -> str | None:
        """What is wrong while requests go on, in one clause; None when nothing is."""
        problem, spooled = self.problem, self.spooled_rows
        if problem is None and not spooled and self._spool_problem is None:
            return None
        where = f"{spooled} rows wait in the spool"
        if self._spool_problem is not None:
            where += f", {self.waiting_rows} in memory ({self._spool_problem})"
        if self.dropped:
            where += f", {self.dropped} are lost"
        return f"{problem or 'the database is catching up'}; {where}"

    def start(self) -> None:
        """Open the database and begin writing, in the background."""
        self._database.start()
        self._thread.start()

    def put(self, entry: LedgerEntry) -> None:
        """Queue one entry, which nobody may change any more; never blocks and never raises."""
        waiting = self._waiting
        if len(waiting) >= self._queue_size:
            self._is_refused = True
            self._drop(1, "its queue is full")
            return
        waiting.append(entry)
        if self._durable:
            self._is_refused = False
        if self._ended:
            self._sweep()
        elif (self._durable or len(waiting) >= self._batch_size) and not self._wake.is_set():
            self._wake.set()

    async def wait_written(self) -> None:
        """Return once every entry that was put before is in the database, or synced in the spool.

        Raises LedgerUnavailable when the newest entry can't be kept, when neither can be written,
        and when the ledger ends first.
        """
        if self._ended or self._is_refused:
            raise _unrecordable()
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop, loop.create_future())
        self._waiting.append(waiter)
        self._wake.set()
        await waiter.safe

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write or spool what is queued, for at most `timeout_s`, then end. Blocks.

        An entry that is put later goes to the spool.
        """
        deadline_s = time.monotonic() + timeout_s
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
            self._abandoned.set()
            self._thread.join(1.0)
        self._ended = True
        self._sweep()
        self._database.stop(max(0.0, deadline_s - time.monotonic()))
        self._is_closed = True
        if self._spool is not None:
            self._spool.close()

    def _run(self) -> None:
        while not self._abandoned.is_set():
            if not self._closing.is_set():
                self._wake.wait(self._flush_interval_s)
                self._wake.clear()
            is_last = self._closing.is_set()
            self._secure_waiting()
            if is_last and not self._waiting:
                return

    def _secure_waiting(self) -> None:
        """Batch after batch, as long as the database or the spool takes them."""
        while self._waiting and not self._abandoned.is_set():
            taken = self._taken = self._taken or _Taken.of(self._waiting, self._batch_size)
            if not self._secure(taken.batch):
                for item in tuple(self._waiting):
                    if isinstance(item, _Waiter):
                        item.tell(_unrecordable())
                return
            self._taken = None
            self._settle(taken)
        if self._waiting:
            return
        self._safe_until_s = time.monotonic()
        if self._losing:
            self._losing = False
            _log.error("the ledger has lost %d rows since it started", self.dropped)

    def _secure(self, batch: Batch) -> bool:
        """Bring rows into the database, or into the spool when it doesn't take them in time."""
        if not batch.rows:
            return True
        if not batch.offered and self.problem is None:
            self._database.offer(batch)
        if batch.offered and batch.stored.wait(_PATIENCE_S):
            self._spool_problem = None
            return True
        if self._spooled(batch.rows):
            self._database.withdraw(batch)
            return True
        if not batch.offered:
            self._database.offer(batch)
        return False

    def _spooled(self, rows: Sequence[Row]) -> bool:
        if self._spool is None:
            return False
        try:
            self._spool.append(rows, sync=self._durable)
        except (OSError, TypeError) as error:
            problem = f"the spool can't be written: {getattr(error, 'strerror', None) or error}"
            if problem != self._spool_problem:
                _log.error("%s; rows wait in memory", problem)
            self._spool_problem = problem
            return False
        self._spool_problem = None
        return True

    def _settle(self, taken: _Taken) -> None:
        """Take a batch that is safe out of the queue, and tell who waited for it."""
        lost = taken.lost()
        for place, item in enumerate(taken.items):
            self._waiting.popleft()
            if isinstance(item, LedgerEntry):
                self._newest_is_lost = place in lost
            else:
                item.tell(_unrecordable() if self._newest_is_lost else None)
        if taken.unreadable:
            self._drop(len(taken.unreadable), "they are no rows")
        self._safe_until_s = taken.at_s

    def _sweep(self) -> None:
        """Spool what the thread has left, in the thread of the caller."""
        with self._sweeping:
            items: list[LedgerEntry | _Waiter] = []
            while self._waiting:
                items.append(self._waiting.popleft())
            taken = _Taken.of(items, len(items))
            rows = taken.batch.rows
            is_safe = not rows or self._spooled(rows)
            if not is_safe:
                self._drop(len(rows), f"they were queued when it ended ({self.problem})")
            for item in items:
                if isinstance(item, _Waiter):
                    item.tell(None if is_safe and rows else _unrecordable())
            if self._is_closed and self._spool is not None:
                self._spool.close()

    def _drop(self, count: int, why: str) -> None:
        """Count lost rows; one log line, until rows can be written again."""
        self._lost += count
        if not self._losing:
            _log.error("the ledger loses rows: %s", why)
        self._losing = True


@dataclass(slots=True, frozen=True)
class _Taken:
    """The front of the queue: `batch.rows[i]` is the row of `items[places[i]]`."""

    items: Sequence[LedgerEntry | _Waiter]
    batch: Batch
    places: Sequence[int]
    unreadable: frozenset[int]
    at_s: float

    @classmethod
    def of(cls, waiting: Sequence[LedgerEntry | _Waiter], most: int) -> _Taken:
        from gateway.accounting.row import row_of

        at_s = time.monotonic()
        items = [waiting[i] for i in range(min(len(waiting), most))]
        rows: list[Row] = []
        places: list[int] = []
        unreadable: set[int] = set()
        for place, item in enumerate(items):
            if not isinstance(item, LedgerEntry):
                continue
            try:
                rows.append(row_of(item))
                places.append(place)
            except Exception as error:
                _log.error("a ledger entry has no row: %s", type(error).__name__)
                unreadable.add(place)
        return cls(items, Batch(rows), places, frozenset(unreadable), at_s)

    def lost(self) -> frozenset[int]:
        """The places of items that no database takes."""
        return self.unreadable | {self.places[i] for i in self.batch.refused}


def _unrecordable() -> LedgerUnavailable:
    return LedgerUnavailable("The call can't be recorded.")


def _spool(url: str, parent: Path | None, limit_mb: int) -> Spool | None:
    from gateway.accounting.database import spool_folder

    folder = spool_folder(url, parent)
    return (
        None
        if folder is None
        else Spool(folder, limit_mb * 1024 * 1024, makes_parents=parent is not None)
    )
