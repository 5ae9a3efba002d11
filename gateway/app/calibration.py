"""Solves policies' targets: on the user's own ledger, or on the classifier's shipped samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from gateway.accounting.history import LoggedRequest
from gateway.accounting.replay import TierPrices, usd_on
from gateway.app.policies import shipped_samples, shipped_scores
from gateway.core.deployment import Tier
from gateway.routing.classifier import Scorer
from gateway.routing.solving import (
    LEAST_SAMPLES,
    LEAST_SCORES,
    Priced,
    Sample,
    Solved,
    TooFewData,
    solve_confidence,
    solve_quality,
    solve_share,
    solve_spend,
)
from gateway.settings import CalibratedPolicy, RoutingSettings, TargetSettings

SolvedOn = Literal["ledger", "shipped"]
Where = Literal["auto", "ledger", "shipped"]

_DAY_S = 86_400
#: A shorter log says nothing about a day.
_LEAST_DAYS = 1 / 24


@dataclass(slots=True, frozen=True)
class Evidence:
    """What the ledger knows of the requests that this router has scored.

    `samples` are the rated requests that might have gone either way, `reach` 1 over the smallest
    probability that any of them had for a tier. `watched` are (confidence, rating) of small answers
    that a cascade committed, `large_ratings` those of large answers to requests of that kind.
    """

    samples: Sequence[Sample]
    reach: float
    rated: int
    scores: Sequence[float]
    priced: Sequence[Priced]
    days: float
    watched: Sequence[tuple[float, float]]
    large_ratings: Sequence[float]


def evidence_of(requests: Iterable[LoggedRequest], prices: TierPrices) -> Evidence:
    """Outcomes, scores and costs; an outcome counts where its tier was taken with p < 1.

    A request that was surely sent to its tier says nothing about the other one.
    """
    scores, priced, moments, explored = [], [], [], []
    watched, large_ratings = [], []
    rated = 0
    for request in requests:
        if request.score is None or not request.is_routed:
            continue
        scores.append(request.score)
        moments.append(request.ts.timestamp())
        small, large = (usd_on(request, tier, prices) for tier in (Tier.SMALL, Tier.LARGE))
        if small is not None and large is not None:
            priced.append(Priced(request.score, float(small), float(large)))
        rated += request.feedback is not None
        if 0 < request.propensity < 1 and _is_answered_as_sent(request):
            explored.append(request)
        if request.feedback is None:
            continue
        if request.answer_tier is Tier.SMALL and request.confidence is not None:
            watched.append((request.confidence, request.feedback))
        elif request.tier is Tier.LARGE and request.score < (request.threshold or 0.0):
            large_ratings.append(request.feedback)  # what would have gone to the small tier
    days = (max(moments) - min(moments)) / _DAY_S if moments else 0.0
    days *= len(priced) / max(1, len(scores))
    samples = _weighted_samples(explored)
    reach = max((1 / min(one.propensity, 1 - one.propensity) for one in explored), default=1.0)
    return Evidence(samples, reach, rated, scores, priced, days, watched, large_ratings)


def _is_answered_as_sent(request: LoggedRequest) -> bool:
    """Whether the answer is what its tier gives: a cascade's escalation is, a fallback isn't."""
    return request.answer_tier is request.tier or request.escalated


def _weighted_samples(explored: Sequence[LoggedRequest]) -> list[Sample]:
    """Ratings over propensity, and over how often answers of that tier are rated at all."""
    rates = {}
    for tier in Tier:
        sent = [one for one in explored if one.tier is tier]
        rates[tier] = sum(one.feedback is not None for one in sent) / max(1, len(sent))
    overall = sum(one.feedback is not None for one in explored) / max(1, len(explored))
    samples = []
    for one in explored:
        if one.feedback is None or one.score is None:
            continue
        weighted = one.feedback / one.propensity * overall / rates[one.tier]
        is_large = one.tier is Tier.LARGE
        samples.append(
            Sample(one.score, 0.0 if is_large else weighted, weighted if is_large else 0.0)
        )
    return samples


def calibrated(
    target: TargetSettings,
    where: Where,
    evidence: Evidence,
    routing: RoutingSettings,
    scorer: Scorer,
) -> CalibratedPolicy:
    """Solve one target. Raises TooFewData with the reason."""
    solve = _solver(target, evidence, routing, scorer)
    solved_on: SolvedOn = "shipped" if where == "shipped" else "ledger"
    if where == "auto" and not _has_any(target, evidence):
        solved_on = "shipped"
    solved = solve(solved_on)
    return CalibratedPolicy(
        target=str(target),
        threshold=min(1.0, solved.threshold),
        solved_on=solved_on,
        samples=solved.samples,
        value=_short(solved.value),
        low=_short(solved.low),
        high=_short(solved.high),
        router=scorer.version,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def watched_confidence(
    target: TargetSettings, evidence: Evidence, policy: CalibratedPolicy
) -> tuple[CalibratedPolicy, str]:
    """The policy with its cascade's least confidence solved too, or without; and why in words."""
    if target.quality is None:
        return policy, "a cascade is solved for a quality target only"
    try:
        solved = solve_confidence(
            evidence.watched, evidence.large_ratings, target.quality, target.confidence
        )
    except TooFewData as error:
        return policy, f"min_confidence stays as configured: {error}"
    found = policy.model_copy(update={"min_confidence": _short(solved.threshold)})
    return found, (
        f"min_confidence {solved.threshold:.4f}: {solved.samples} watched answers are rated "
        f"{solved.value:.4f} ({solved.low:.4f} to {solved.high:.4f}) on average"
    )


def _has_any(target: TargetSettings, evidence: Evidence) -> bool:
    """Whether the ledger has something to go by, be it too little."""
    return bool(evidence.rated if target.quality is not None else evidence.scores)


def _solver(
    target: TargetSettings, evidence: Evidence, routing: RoutingSettings, scorer: Scorer
) -> Callable[[SolvedOn], Solved]:
    def quality(solved_on: SolvedOn) -> Solved:
        goal = target.quality or 0.0
        if solved_on == "shipped":
            return solve_quality(shipped_samples(routing.classifier), goal, target.confidence)
        if evidence.rated >= LEAST_SAMPLES > len(evidence.samples):
            raise TooFewData(
                f"{evidence.rated} answers are rated, but only {len(evidence.samples)} of requests "
                "that might have gone either way: set routing.exploration"
            )
        return solve_quality(evidence.samples, goal, target.confidence, reach=evidence.reach)

    def share(solved_on: SolvedOn) -> Solved:
        scores = evidence.scores if solved_on == "ledger" else shipped_scores(scorer)
        return solve_share(scores, target.large_share or 0.0)

    def spend(solved_on: SolvedOn) -> Solved:
        if solved_on == "shipped":
            raise TooFewData("only your own ledger says how many requests come in a day")
        if len(evidence.scores) >= LEAST_SCORES > len(evidence.priced):
            raise TooFewData(
                f"only {len(evidence.priced)} of {len(evidence.scores)} requests have a known cost "
                "on both tiers: set deployments' prices"
            )
        if evidence.days < _LEAST_DAYS:
            raise TooFewData("the log covers less than an hour")
        return solve_spend(evidence.priced, evidence.days, float(target.usd_per_day or 0))

    if target.quality is not None:
        return quality
    return share if target.large_share is not None else spend


def _short(number: float) -> float:
    return float(f"{number:.6g}")
