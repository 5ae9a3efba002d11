"""Hedged requests: a second attempt for the few that take unusually long.

Dean and Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.resilience.health import DeploymentHealth


@dataclass(slots=True, frozen=True)
class HedgingSettings:
    """After the `quantile` of a deployment's waits (at least `least_wait_s`) a second one is asked.

    At most `most_share` of the requests are hedged.
    """

    quantile: float = 0.95
    least_wait_s: float = 0.5
    most_share: float = 0.05


class Hedging:
    """Says when to hedge, and keeps the share."""

    def __init__(self, settings: HedgingSettings) -> None:
        self._settings = settings
        self._requests = 0
        self._hedges = 0

    def wait_s(self, health: DeploymentHealth) -> float | None:
        """How long to wait for a first item before a second attempt; None: however long it takes.

        Counts one request.
        """
        self._requests += 1
        usual_s = health.usual_wait_s(self._settings.quantile)
        return None if usual_s is None else max(usual_s, self._settings.least_wait_s)

    def allows(self) -> bool:
        """Whether one more may be hedged; if so it is counted."""
        if self._hedges + 1 > self._settings.most_share * self._requests:
            return False
        self._hedges += 1
        return True
