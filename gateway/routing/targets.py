"""Thresholds that follow live traffic: a share of requests, or an amount of money a day.

A share that was fixed on one kind of prompts is another share on the next kind, so the threshold
is a quantile of the newest scores. Nothing here needs labels.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby

from gateway.routing.policy import TierUsd

#: Scores that are remembered: 3 % to large is then known to about ± 0.8 points (2 σ).
WINDOW = 2_000
#: Scores of the shipped distribution that a new window begins with.
PRIOR_SCORES = 200
_DAY_S = 86_400
#: Above every score: nothing goes to the large tier.
NOTHING = 1.0 + 1e-9


class ShareTarget:
    """Sends `share` of the newest requests to the large tier."""

    def __init__(self, share: float, prior: Sequence[float], *, window: int = WINDOW) -> None:
        """`prior`: scores to begin with, until live ones have pushed them out."""
        self._share = share
        self._window = window
        self._newest = deque(prior)
        self._sorted = sorted(prior)
        self._lock = threading.Lock()

    @property
    def threshold(self) -> float:
        """The lowest threshold that keeps within the share of the window."""
        with self._lock:
            scores = self._sorted
            kept = int(len(scores) * (1 - self._share) + 0.5)
            if 0 < kept < len(scores) and scores[kept - 1] == scores[kept]:
                kept = bisect_right(scores, scores[kept])  # equal scores go together
            return scores[kept] if kept < len(scores) else NOTHING

    def observe(self, score: float, tier_usd: Callable[[], TierUsd | None]) -> None:
        """Take in the score of one request."""
        self.seed([score])

    def seed(self, scores: Iterable[float]) -> None:
        """Take in scores, oldest first."""
        with self._lock:
            for score in scores:
                self._newest.append(score)
                insort(self._sorted, score)
                if len(self._newest) > self._window:
                    del self._sorted[bisect_left(self._sorted, self._newest.popleft())]


class SpendTarget:
    """Sends to the large tier what the rest of the day's money pays for, the hardest first.

    The window gives how fast requests come, how hard they are and what each costs on either tier;
    the ledger's entries say what was spent. While nothing is known, or a price is
    missing, `start` is the threshold. Each web process watches its own share of the money.
    """

    def __init__(
        self,
        usd_per_day: Decimal,
        start: float,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        window: int = WINDOW,
        least: int = 50,
    ) -> None:
        """`least` requests must have been seen before the threshold moves."""
        self._usd_per_day = usd_per_day
        self._now = now
        self._least = least
        self._threshold = start
        self._requests: deque[tuple[float, float, float, float]] = deque(maxlen=window)
        self._day = now().date()
        self._spent = Decimal(0)
        self._since_solved = 0

    @property
    def threshold(self) -> float:
        """The threshold as solved last; above every score once the money is gone."""
        return NOTHING if self._left() <= 0 else self._threshold

    def observe(self, score: float, tier_usd: Callable[[], TierUsd | None]) -> None:
        """Take in one request, and solve again every few."""
        usd = tier_usd()
        if usd is None:
            return
        small, large = map(float, usd)
        self._requests.append((self._now().timestamp(), score, small, large))
        self._since_solved += 1
        if len(self._requests) >= self._least and self._since_solved >= self._least // 5:
            self._since_solved = 0
            self._threshold = self._solved()

    def spent(self, usd: Decimal, day: date) -> None:
        """Count money that was spent on a UTC day."""
        if day == self._today():
            self._spent += usd

    def _today(self) -> date:
        today = self._now().date()
        if today != self._day:
            self._day, self._spent = today, Decimal(0)
        return today

    def _left(self) -> Decimal:
        self._today()
        return self._usd_per_day - self._spent

    def _solved(self) -> float:
        """The lowest threshold whose requests, at the window's pace, cost no more than is left."""
        now = self._now()
        first = self._requests[0][0]
        pace = len(self._requests) / max(1.0, now.timestamp() - first)
        seconds_left = _DAY_S - (now.hour * 3600 + now.minute * 60 + now.second)
        times = pace * seconds_left / len(self._requests)
        left = float(self._left()) - sum(small for _, _, small, _ in self._requests) * times
        threshold = NOTHING
        hardest = sorted(self._requests, key=lambda one: -one[1])
        for score, equal in groupby(hardest, key=lambda one: one[1]):
            left -= sum(max(0.0, large - small) for _, _, small, large in equal) * times
            if left < 0:
                return threshold
            threshold = score
        return 0.0


def prior_scores(shares: Sequence[tuple[float, float]]) -> list[float]:
    """Scores whose distribution has these (threshold, share at or above it) points."""
    scores = []
    for step in range(PRIOR_SCORES):
        wanted = (step + 0.5) / PRIOR_SCORES
        scores.append(max((t for t, share in shares if share >= wanted), default=0.0))
    return scores
