"""Reserves what calls may cost at most, before they are made; their rows end the reservations."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from gateway.core.access import Budget
from gateway.core.errors import LedgerUnavailable

if TYPE_CHECKING:  # SQLAlchemy is loaded by the thread
    from gateway.accounting.access.reserving import Reserver

#: Longer than a transaction waits for another one's end.
ANSWERED_WITHIN_S = 6.0
MOST_AT_ONCE = 500
_PAUSE_S = 0.2

_log = logging.getLogger("gateway.budgets")


@dataclass(slots=True, frozen=True)
class Need:
    """What one attempt may cost at most. `forced` is reserved whatever is left."""

    request_id: str
    attempt: int
    key_id: str
    pico: int
    at: datetime
    forced: bool


@dataclass(slots=True, frozen=True)
class Shortage:
    """Why a need wasn't met: the budget as it is now, in pico-USD."""

    budget: Budget
    spent: int
    reserved: int


@dataclass(slots=True, frozen=True)
class _Ask:
    need: Need
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Shortage | None]

    def tell(self, outcome: Shortage | LedgerUnavailable | None) -> None:
        def once() -> None:
            if self.answer.done():
                return
            if isinstance(outcome, LedgerUnavailable):
                self.answer.set_exception(outcome)
            else:
                self.answer.set_result(outcome)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(once)


@dataclass(slots=True, frozen=True)
class _Release:
    """A reservation whose call won't be made."""

    request_id: str
    attempt: int


class Budgets:
    """Keeps keys within their budgets, together with every other process on the same database.

    One thread takes the needs of all requests that wait into one transaction. It opens the database
    when the first key with a budget asks. `lease_s` is how long a reservation counts that nobody
    renews, because its process has died.
    """

    def __init__(self, url: str, *, lease_s: float = 120.0) -> None:
        self._url = url
        self._lease_s = lease_s
        self._owner = secrets.token_hex(8)
        self._jobs: SimpleQueue[_Ask | _Release | None] = SimpleQueue()
        self._ended = threading.Event()
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name="budgets", daemon=True)

    def start(self) -> None:
        """Begin to take needs; nothing is opened before the first."""
        self._thread.start()

    def stop(self) -> None:
        """End. Blocks for a moment."""
        self._ended.set()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(2.0)

    async def met(self, need: Need) -> Shortage | None:
        """Reserve what is needed; None once that is committed. Raises LedgerUnavailable."""
        loop = asyncio.get_running_loop()
        ask = _Ask(need, loop, loop.create_future())
        self._jobs.put(ask)
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                return await ask.answer
        except TimeoutError:
            self._jobs.put(_Release(need.request_id, need.attempt))
            raise LedgerUnavailable("The database of budgets doesn't answer.") from None
        except asyncio.CancelledError:
            self._jobs.put(_Release(need.request_id, need.attempt))
            raise

    def _run(self) -> None:
        from gateway.accounting.access.reserving import Reserver

        reserver: Reserver | None = None
        renew_at_s = 0.0
        while not self._ended.is_set():
            jobs = self._taken(None if reserver is None else renew_at_s - time.monotonic())
            try:
                if reserver is None:
                    if not jobs:
                        continue
                    reserver = Reserver(self._url, self._owner, self._lease_s)
                self._act(reserver, jobs)
                if time.monotonic() >= renew_at_s:
                    reserver.renew()
                    renew_at_s = time.monotonic() + self._lease_s / 3
                self._is_away = False
            except Exception as error:
                self._fail(jobs, error)
                renew_at_s = max(renew_at_s, time.monotonic() + 1.0)
        if reserver is not None:
            reserver.close()

    def _taken(self, within_s: float | None) -> list[_Ask | _Release]:
        """Everything that waits, or what comes within a time."""
        jobs: list[_Ask | _Release] = []
        try:
            job = self._jobs.get(timeout=None if within_s is None else max(0.0, within_s))
            while job is not None:
                jobs.append(job)
                if len(jobs) == MOST_AT_ONCE:
                    break
                job = self._jobs.get_nowait()
        except Empty:
            pass
        return jobs

    def _act(self, reserver: Reserver, jobs: list[_Ask | _Release]) -> None:
        asks = [job for job in jobs if isinstance(job, _Ask)]
        # One that was given up while it waited here is never reserved.
        wanted = [ask for ask in asks if not ask.answer.cancelled()]
        given_up = [(job.request_id, job.attempt) for job in jobs if isinstance(job, _Release)]
        if not wanted and not given_up:
            return
        outcomes = reserver.reserve([ask.need for ask in wanted], given_up)
        for ask, outcome in zip(wanted, outcomes, strict=True):
            ask.tell(outcome)

    def _fail(self, jobs: list[_Ask | _Release], error: Exception) -> None:
        from gateway.accounting.database import driver_reason

        if not self._is_away:
            _log.error("budgets can't be reserved from: %s", driver_reason(error))
        self._is_away = True
        unavailable = LedgerUnavailable("The key's budget can't be read now, so nothing is called.")
        for job in jobs:
            if isinstance(job, _Ask):
                job.tell(unavailable)
            else:
                self._jobs.put(job)
        self._ended.wait(_PAUSE_S)
