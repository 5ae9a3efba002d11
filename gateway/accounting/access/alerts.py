"""Tells a webhook how far budgets are used up: once a threshold, key and period."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # SQLAlchemy and httpx are loaded by the thread
    from sqlalchemy.engine import Engine

    from gateway.accounting.access.marks import Mark

LOOK_EVERY_S = 1.0
POST_WITHIN_S = 5.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0

_log = logging.getLogger("gateway.alerts")


class Alerts:
    """Looks at the budgets now and then, in a thread.

    Whoever claims a mark in the database tells of it; where it dies before it has, another process
    does. A webhook that fails is tried again with longer and longer pauses, until the period ends.
    """

    def __init__(
        self, url: str, webhook_url: str, at: Sequence[int], *, look_every_s: float = LOOK_EVERY_S
    ) -> None:
        """`at` are percentages."""
        self._url = url
        self._webhook_url = webhook_url
        self._at = tuple(sorted(set(at)))
        self._look_every_s = look_every_s
        self._ended = threading.Event()
        self._engine: Engine | None = None
        self._failures: dict[Mark, int] = {}
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def start(self) -> None:
        """Begin, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End. Blocks for a moment."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        from gateway.accounting.database import driver_reason

        while not self._ended.wait(self._look_every_s):
            try:
                self._look()
            except Exception as error:
                self._note(f"the budgets can't be looked at: {driver_reason(error)}")
        if self._engine is not None:
            self._engine.dispose()

    def _look(self) -> None:
        from gateway.accounting.access.marks import claim, reached_marks, told
        from gateway.accounting.database import open_for_writing
        from gateway.accounting.migrations import migrate

        if self._engine is None:
            engine = open_for_writing(self._url, durable=False)
            try:
                migrate(engine)
            except BaseException:
                engine.dispose()
                raise
            self._engine = engine
        for mark in reached_marks(self._engine, self._url, self._at, datetime.now(UTC)):
            if self._ended.is_set():
                return
            failures = self._failures.get(mark, 0)
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**failures) + POST_WITHIN_S
            now = datetime.now(UTC)
            if not claim(self._engine, mark, now, now + timedelta(seconds=pause_s)):
                continue
            if self._post(mark.message()):
                told(self._engine, mark, datetime.now(UTC))
                self._failures.pop(mark, None)
            else:
                self._failures[mark] = failures + 1

    def _post(self, message: dict[str, Any]) -> bool:
        import httpx

        try:
            answer = httpx.post(self._webhook_url, json=message, timeout=POST_WITHIN_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._note(f"the webhook can't be reached: {type(error).__name__}")
            return False
        if not answer.is_success:
            self._note(f"the webhook answers {answer.status_code}")
            return False
        self._problem = None
        return True

    def _note(self, problem: str) -> None:
        """One line a problem, until it is over. Its address is a secret."""
        if problem != self._problem:
            _log.error("budget alerts: %s", problem)
        self._problem = problem
