"""The order of attempts at one request: retries with jittered backoff, then the next deployment."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.cascade import Cascade
from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment
from gateway.core.errors import BackendError, LowConfidence

#: Upstream statuses that condemn the deployment's configuration, not the request:
#: the same deployment will refuse again, another may answer.
MISCONFIGURED = frozenset({401, 403, 404})

FIRST_BACKOFF_S = 0.2
LONGEST_WAIT_S = 10.0


@dataclass(slots=True, frozen=True)
class Attempt:
    """One attempt to make: its number (from 1), where and why, and the wait before it in seconds.

    With a `cascade` the backend watches the answer's beginning, and may give it up.
    """

    number: int
    deployment: Deployment
    reason: str
    wait_s: float = 0.0
    cascade: Cascade | None = None


class AttemptPlan:
    """Walks through the attempts that one decision allows.

    `retries` gives, by deployment name, how often a retryable failure is tried again there. An
    answer that was given up is escalated; where no other deployment can begin one either, the
    chosen one answers after all, unwatched.
    """

    def __init__(self, decision: RouteDecision, retries: Mapping[str, int]) -> None:
        self._decision = decision
        self._deployments = (decision.deployment, *decision.fallbacks)
        self._retries = retries
        self._position = 0
        self._failures_here = 0
        self._number = 1
        self._is_escalated = False

    def first(self) -> Attempt:
        """The attempt that the decision asked for."""
        return self._attempt(0.0)

    def after(self, error: BackendError) -> Attempt | None:
        """The attempt to make after `error`, or None when there is no sense in another."""
        escalation = self._decision.escalation
        if isinstance(error, LowConfidence) and not self._is_escalated and escalation is not None:
            return self._escalate(escalation)
        wait_s = self._wait_before_retry(error)
        if wait_s is None:
            if not self._move_on(error):
                return None
            self._failures_here = 0
            wait_s = 0.0
        else:
            self._failures_here += 1
        self._number += 1
        return self._attempt(wait_s)

    def _attempt(self, wait_s: float) -> Attempt:
        decision = self._decision
        deployment = self._deployments[self._position]
        if self._position > 0:
            return Attempt(self._number, deployment, "fallback", wait_s)
        if self._is_escalated:
            return Attempt(self._number, deployment, "escalated", wait_s)
        cascade = decision.cascade if decision.escalation is not None else None
        return Attempt(self._number, deployment, decision.reason, wait_s, cascade)

    def _escalate(self, escalation: Deployment) -> Attempt:
        """The large tier first, and the deployment that gave up last."""
        others = (
            one
            for one in self._decision.fallbacks
            if one.tier is escalation.tier and one is not escalation
        )
        self._deployments = (escalation, *others, self._decision.deployment)
        self._is_escalated = True
        self._position = self._failures_here = 0
        self._number += 1
        return self._attempt(0.0)

    def _move_on(self, error: BackendError) -> bool:
        """Take the next deployment; False where there is none, or where it would refuse too."""
        last = len(self._deployments) - 1
        if self._position == last:
            return False
        if error.retryable or error.status in MISCONFIGURED:
            self._position += 1
        elif self._is_escalated:
            self._position = last  # what the large tier refuses, the small one was answering
        else:
            return False
        return True

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
