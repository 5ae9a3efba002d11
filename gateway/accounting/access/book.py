"""The virtual keys in memory: looked up without I/O, read anew when the database's change."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gateway.core.access import VirtualKey
from gateway.core.errors import LedgerUnavailable

if TYPE_CHECKING:  # SQLAlchemy is loaded by the thread
    from sqlalchemy.engine import Engine

REFRESH_S = 0.5
#: Unknown keys ask for a look at the database at most so often.
EARLY_LOOK_EVERY_S = 0.25

_log = logging.getLogger("gateway.keys")


@dataclass(slots=True, frozen=True)
class _Entry:
    """A key by one of its digests: good until a moment (seconds since the epoch), if any."""

    key: VirtualKey
    until_s: float | None


@dataclass(slots=True, frozen=True)
class _Page:
    """All keys that can be used at one version; `exists` says whether any was ever made."""

    version: int = -1
    exists: bool = False
    entries: Mapping[bytes, _Entry] = field(default_factory=dict)


class KeyBook:
    """Knows the keys of one database, at most a second late. A database that is away changes none.

    `default_rpm` and `default_tpm` hold for keys that name no limit of their own.
    """

    def __init__(
        self, url: str, *, default_rpm: int | None = None, default_tpm: int | None = None
    ) -> None:
        self._url = url
        self._defaults = (default_rpm, default_tpm)
        self._page: _Page | None = None
        self._engine: Engine | None = None
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._lock = threading.Lock()
        self._next_early_look_s = 0.0
        self._has_next_look = False
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)

    @property
    def was_read(self) -> bool:
        """Whether it is known which keys there are."""
        return self._page is not None

    @property
    def has_keys(self) -> bool:
        """Whether any virtual key was ever made; then nobody is let in without one."""
        return self._page is not None and self._page.exists

    def find(self, digest: bytes) -> VirtualKey | None:
        """The key with this SHA-256 digest, if it can be used now."""
        if self._page is None:
            return None
        entry = self._page.entries.get(digest)
        if entry is None or (entry.until_s is not None and entry.until_s <= time.time()):
            return None
        return entry.key

    def start(self) -> None:
        """Begin to follow the database, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End. Blocks for a moment."""
        self._ended.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        elif self._engine is not None:
            self._engine.dispose()

    def read(self) -> None:
        """Read the keys if they have changed. Blocks. Raises LedgerUnavailable."""
        from sqlalchemy.exc import SQLAlchemyError

        from gateway.accounting.database import driver_reason

        try:
            self._read()
        except (SQLAlchemyError, ImportError, ValueError) as error:
            message = f"The virtual keys can't be read: {driver_reason(error)}."
            raise LedgerUnavailable(message) from error

    async def looked_again(self) -> bool:
        """Have the database read for a key that isn't known; False where it can't be in time.

        Whoever comes soon after a look waits for the next one.
        """
        if not self._thread.is_alive():
            return False
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((loop, done))
        now_s = time.monotonic()
        if now_s >= self._next_early_look_s:
            self._next_early_look_s = now_s + EARLY_LOOK_EVERY_S
            self._wake.set()
        elif not self._has_next_look:
            self._has_next_look = True
            loop.call_later(self._next_early_look_s - now_s, self._look_early)
        try:
            async with asyncio.timeout(1.0):
                await done
        except TimeoutError:
            return False
        return True

    def _look_early(self) -> None:
        self._has_next_look = False
        self._next_early_look_s = time.monotonic() + EARLY_LOOK_EVERY_S
        self._wake.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                waiting, self._waiting = self._waiting, []
            try:
                self.read()
            except LedgerUnavailable as error:
                if not self._is_away:
                    _log.error("%s Those that are known stay as they are.", error.message)
                self._is_away = True
            except Exception:
                _log.exception("the virtual keys can't be read")
            else:
                self._is_away = False
            for loop, done in waiting:
                _tell(loop, done)
            self._wake.wait(REFRESH_S)
            self._wake.clear()
        if self._engine is not None:
            self._engine.dispose()

    def _read(self) -> None:
        import sqlalchemy as sa

        from gateway.accounting.access.tables import key_changes, virtual_keys

        engine = self._opened()
        if engine is None:  # there is no file yet
            self._page = self._page or _Page()
            return
        with engine.connect() as connection:
            if not self.has_keys and not sa.inspect(connection).has_table(key_changes.name):
                self._page = _Page()
                return
            version = int(connection.scalar(sa.select(key_changes.c.version)) or 0)
            if self._page is not None and version == self._page.version:
                return
            rows = connection.execute(sa.select(virtual_keys)).all()
        self._page = _Page(version, bool(rows), self._entries(rows))

    def _opened(self) -> Engine | None:
        """What reads; None while SQLite's file doesn't exist. A server stays connected."""
        from gateway.accounting.database import open_for_reading, open_for_writing

        if self._engine is None:
            is_file = self._url.startswith("sqlite")
            self._engine = (
                open_for_reading(self._url)
                if is_file
                else open_for_writing(self._url, durable=False)
            )
        return self._engine

    def _entries(self, rows: Any) -> dict[bytes, _Entry]:
        from dataclasses import replace

        from gateway.accounting.access.keys import record_of

        found: dict[bytes, _Entry] = {}
        for row in rows:
            if row.revoked is not None:
                continue
            key = record_of(row).key
            rpm, tpm = self._defaults
            key = replace(key, rpm=key.rpm or rpm, tpm=key.tpm or tpm)
            found[bytes.fromhex(row.digest)] = _Entry(key, _seconds(row.expires))
            if row.previous_digest is not None:
                ends = [one for one in (row.expires, row.previous_expires) if one is not None]
                entry = _Entry(key, _seconds(min(ends)))
                found[bytes.fromhex(row.previous_digest)] = entry
        return found


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
    def once() -> None:
        if not done.done():
            done.set_result(None)

    if not loop.is_closed():
        loop.call_soon_threadsafe(once)
