"""The order of attempts at one request: retries with jittered backoff, then the next deployment."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.core.cascade import Cascade
from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment
from gateway.core.errors import (
    BackendError,
    DeadlinePassed,
    LowConfidence,
    NotCalled,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.resilience.breaker import MISCONFIGURED

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
    upstream that didn't answer in time may be at work still, and isn't asked twice. An answer that
    was given up is escalated; where no other deployment can begin one either, the chosen one
    answers after all, unwatched. No attempt begins at or after `deadline_s`, on the
    `time.perf_counter` clock. The first one has `first_number`.
    """

    def __init__(
        self,
        decision: RouteDecision,
        retries: Mapping[str, int],
        deadline_s: float,
        first_number: int = 1,
    ) -> None:
        self.deadline_s = deadline_s
        self._decision = decision
        self._deployments = (decision.deployment, *decision.fallbacks)
        self._retries = retries
        self._position = 0
        self._failures_here = 0
        self._number = first_number
        self._is_escalated = False
        self._is_hedged = False

    @property
    def free_number(self) -> int:
        """The number that no attempt has, where the last one has left its own free.

        Above 1 only beside a hedge: the request's first row then has none of what a first has.
        """
        return self._number + self._is_hedged

    def first(self) -> Attempt:
        """The attempt that the decision asked for."""
        return self._attempt(0.0)

    def hedge(self, attempt: Attempt) -> Attempt:
        """A second attempt beside one that takes long: on the next deployment of its tier.

        It counts as made.
        """
        self._number += 1
        self._is_hedged = True
        others = self._deployments[self._position + 1 :]
        tier = attempt.deployment.tier
        beside = next((one for one in others if one.tier is tier), attempt.deployment)
        return replace(attempt, number=self._number, deployment=beside, reason="hedged", wait_s=0.0)

    def after(self, error: BackendError, *, is_recorded: bool = True) -> Attempt | None:
        """The attempt to make after `error`, or None when there is no sense in another.

        An attempt that isn't `is_recorded` has left its number free, unless one beside it has the
        next.
        """
        if isinstance(error, DeadlinePassed):
            return None
        self._number += is_recorded or self._is_hedged
        self._is_hedged = False
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
        return self._attempt(0.0)

    def _move_on(self, error: BackendError) -> bool:
        """Take the next deployment; False where there is none, or where it would refuse too."""
        last = len(self._deployments) - 1
        if self._position == last or time.perf_counter() >= self.deadline_s:
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
        if not error.retryable or isinstance(error, NotCalled | UpstreamTimeout):
            return None
        if self._failures_here >= self._retries.get(deployment.name, 0):
            return None
        asked = error.retry_after_s or 0.0
        ceiling = min(LONGEST_WAIT_S, FIRST_BACKOFF_S * 2**self._failures_here)
        wait_s = max(asked, random.uniform(0, ceiling))  # noqa: S311 (jitter, not a secret)
        is_too_late = time.perf_counter() + wait_s >= self.deadline_s
        return None if asked > LONGEST_WAIT_S or is_too_late else wait_s


class CautiousPlan(AttemptPlan):
    """For what may cost or do something twice: tried again only where nothing was sent."""

    def after(self, error: BackendError, *, is_recorded: bool = True) -> Attempt | None:
        """The attempt to make after `error`, or None."""
        if not isinstance(error, UpstreamUnreachable):
            return None
        return super().after(error, is_recorded=is_recorded)
