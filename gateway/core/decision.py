"""The outcome of routing: which deployment answers, why, and by what margin."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.cascade import Cascade
from gateway.core.deployment import Deployment, Tier


@dataclass(slots=True, frozen=True)
class Exclusion:
    """A deployment that can't serve the request, with the reason as a short machine word."""

    deployment: Deployment
    reason: str
    detail: str = ""


@dataclass(slots=True, frozen=True)
class Contribution:
    """What one feature added to the score: its value, and its effect in log-odds of difficulty."""

    feature: str
    value: float
    effect: float


@dataclass(slots=True, frozen=True)
class RouteDecision:
    """Score, threshold, tier, deployment and reason of one request.

    `score` is the calibrated probability (0..1) that the small tier's answer falls short;
    score ≥ `threshold` sends the request to the large tier. Both are None when the client named a
    deployment. `fallbacks` are the further deployments to try, in order. `propensity` is the
    probability with which this tier was chosen. `session` names the conversation. `runner_up` is
    the deployment that would have been next, `rules` are the rules that fired, as short texts.
    `shadow_score` is what the router `shadow_version` says; it decided nothing. With a
    `cascade` the answer is given up when the model isn't sure of its beginning, and `escalation`
    (never None then) answers instead.
    """

    deployment: Deployment
    reason: str
    router_version: str
    score: float | None = None
    threshold: float | None = None
    policy: str | None = None
    fallbacks: tuple[Deployment, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    propensity: float = 1.0
    session: str | None = None
    runner_up: Deployment | None = None
    rules: tuple[str, ...] = ()
    shadow_version: str | None = None
    shadow_score: float | None = None
    cascade: Cascade | None = None
    escalation: Deployment | None = None

    @property
    def tier(self) -> Tier:
        """The tier of the chosen deployment."""
        return self.deployment.tier

    @property
    def margin(self) -> float | None:
        """Signed distance from the threshold: positive leans large, negative leans small."""
        if self.score is None or self.threshold is None:
            return None
        return self.score - self.threshold


@dataclass(slots=True, frozen=True)
class Explanation:
    """A decision with what led to it, for `route` on the command line and over HTTP."""

    decision: RouteDecision
    contributions: tuple[Contribution, ...] = field(default_factory=tuple)
