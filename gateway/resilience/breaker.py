"""A circuit breaker: a deployment that fails is left alone for a while, then tried by one request.

Nygard, *Release It!* (2007): closed, open, half-open.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gateway.core.errors import BackendError, EngineUnavailable, NotCalled, UpstreamError

BreakerState = Literal["closed", "half_open", "open"]
#: What a process finds out by its own calls: it opened, one request tries it, it works again.
BreakerNews = Literal["opened", "tried", "closed"]

#: What condemns the deployment's configuration: trying it again soon can't help.
MISCONFIGURED = frozenset({401, 403, 404})
#: A probe that never comes back lets another one through after this.
PROBE_S = 60.0
_JITTER = 0.2


@dataclass(slots=True, frozen=True)
class BreakerSettings:
    """Opens after `failures` in a row, for `cooldown_s`, twice as long each time up to the most."""

    failures: int = 5
    cooldown_s: float = 5.0
    longest_cooldown_s: float = 60.0


class Breaker:
    """The state of one deployment, as this process has seen it, or learnt it from another."""

    def __init__(
        self,
        settings: BreakerSettings,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[BreakerNews], None] | None = None,
    ) -> None:
        """`tell` is called with what this process finds out itself."""
        self.settings = settings
        self._clock = clock
        self._tell = tell
        self._failures = 0
        self.openings = 0
        self._era = 0
        self._open_until_s: float | None = None
        self._probing_until_s = 0.0
        self.reason = ""

    @property
    def state(self) -> BreakerState:
        """Open: nothing is called; half-open: one request may try."""
        if self._open_until_s is None:
            return "closed"
        return "open" if self._clock() < self._open_until_s else "half_open"

    def refused_for_s(self) -> float | None:
        """Seconds until the deployment may be called again; None where it may be called now."""
        if self._open_until_s is None:
            return None
        now = self._clock()
        wait_s = max(self._open_until_s, self._probing_until_s) - now
        return wait_s if wait_s > 0 else None

    def begin(self) -> int:
        """A call begins: in the half-open state it is the probe, and no other may begin.

        The answer belongs to the verdict. One on a call that had begun before the breaker opened
        says nothing new: it neither closes it nor keeps it open for longer.
        """
        if self._open_until_s is not None:
            self._probing_until_s = self._clock() + PROBE_S
            self._found("tried")
        return self._era

    def succeeded(self, era: int) -> None:
        """A call was answered."""
        if era == self._era and (self._failures or self._open_until_s is not None):
            was_open = self._open_until_s is not None
            self.learn_closed()
            if was_open:
                self._found("closed")

    def failed(self, era: int, error: BackendError) -> None:
        """A call failed; what is the request's own fault counts as an answer.

        A local engine says at once that it is loading or full, so nothing is gained by waiting.
        """
        if isinstance(error, NotCalled | EngineUnavailable):
            self.gave_up(era)
            return
        is_broken = error.status is not None and (
            error.status < 400 or error.status in MISCONFIGURED
        )
        if isinstance(error, UpstreamError) and not (error.retryable or is_broken):
            self.succeeded(era)
            return
        if era != self._era:
            return
        self._failures += 1
        self.reason = error.message
        asked_s = min(error.retry_after_s or 0.0, self.settings.longest_cooldown_s)
        was_probe = self._open_until_s is not None
        is_asked_to_wait = error.status in {429, 503} and asked_s > self.settings.cooldown_s
        if was_probe or is_broken or is_asked_to_wait or self._failures >= self.settings.failures:
            self._open(asked_s)

    def gave_up(self, era: int) -> None:
        """A call ended without a verdict, such as one whose client left."""
        if era == self._era:
            self._probing_until_s = 0.0

    def learn_open(self, for_s: float, openings: int, reason: str) -> None:
        """Another process has opened its own: leave the deployment alone for so long at least.

        `openings` is how often in a row it was opened. Verdicts on calls that have begun say
        nothing new.
        """
        self._era += 1
        until_s = self._clock() + for_s
        self._open_until_s = max(until_s, self._open_until_s or until_s)
        self._probing_until_s = 0.0
        self.openings = max(self.openings, openings)
        self.reason = reason

    def learn_tried(self, for_s: float) -> None:
        """Another process has a request that tries it: none of ours begins for so long."""
        if self._open_until_s is not None:
            self._probing_until_s = max(self._probing_until_s, self._clock() + for_s)

    def learn_closed(self) -> None:
        """The deployment works."""
        self._failures = self.openings = 0
        self._open_until_s = None
        self._probing_until_s = 0.0

    def _found(self, news: BreakerNews) -> None:
        if self._tell is not None:
            self._tell(news)

    def _open(self, asked_s: float) -> None:
        settings = self.settings
        self._era += 1
        cooldown_s = min(settings.cooldown_s * 2**self.openings, settings.longest_cooldown_s)
        cooldown_s *= random.uniform(1, 1 + _JITTER)  # noqa: S311 (jitter, not a secret)
        self.openings = min(self.openings + 1, 16)
        self._probing_until_s = 0.0
        self._open_until_s = self._clock() + max(cooldown_s, asked_s)
        self._found("opened")
