"""The order of attempts at one request: retries with jittered backoff, then the next deployment."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment
from gateway.core.errors import BackendError

#: Upstream statuses that condemn the deployment's configuration, not the request:
#: the same deployment will refuse again, another may answer.
MISCONFIGURED = frozenset({401, 403, 404})

FIRST_BACKOFF_S = 0.2
LONGEST_WAIT_S = 10.0


@dataclass(slots=True, frozen=True)
class Attempt:
    """One attempt to make: its number (from 1), where, and the wait before it in seconds."""

    number: int
    deployment: Deployment
    wait_s: float = 0.0


class AttemptPlan:
    """Walks through the attempts that one decision allows.

    `retries` gives, by deployment name, how often a retryable failure is tried again there.
    """

    def __init__(self, decision: RouteDecision, retries: Mapping[str, int]) -> None:
        self._deployments = (decision.deployment, *decision.fallbacks)
        self._retries = retries
        self._position = 0
        self._failures_here = 0
        self._number = 1

    def first(self) -> Attempt:
        """The attempt that the decision asked for."""
        return Attempt(self._number, self._deployments[0])

    def after(self, error: BackendError) -> Attempt | None:
        """The attempt to make after `error`, or None when there is no sense in another."""
        wait_s = self._wait_before_retry(error)
        if wait_s is None:
            if not error.retryable and error.status not in MISCONFIGURED:
                return None
            if self._position + 1 >= len(self._deployments):
                return None
            self._position += 1
            self._failures_here = 0
            wait_s = 0.0
        else:
            self._failures_here += 1
        self._number += 1
        return Attempt(self._number, self._deployments[self._position], wait_s)

    def _wait_before_retry(self, error: BackendError) -> float | None:
        """Seconds to wait before the same deployment is tried again; None to leave it.

        Exponential backoff with full jitter (Brooker, 'Exponential Backoff And Jitter', AWS 2015),
        never shorter than the upstream's own Retry-After.
        """
        deployment = self._deployments[self._position]
        if not error.retryable or self._failures_here >= self._retries.get(deployment.name, 0):
            return None
        asked = error.retry_after_s or 0.0
        if asked > LONGEST_WAIT_S:
            return None
        ceiling = min(LONGEST_WAIT_S, FIRST_BACKOFF_S * 2**self._failures_here)
        return max(asked, random.uniform(0, ceiling))  # noqa: S311 (jitter, not a secret)
