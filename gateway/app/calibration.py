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

    `watched` are (confidence, rating) of small answers that a cascade committed, `large_ratings`
    the ratings of large answers.
    """

    samples: Sequence[Sample]
    rated: int
    scores: Sequence[float]
    priced: Sequence[Priced]
    days: float
    watched: Sequence[tuple[float, float]] = ()
    large_ratings: Sequence[float] = ()


def evidence_of(requests: Iterable[LoggedRequest], prices: TierPrices) -> Evidence:
    """Outcomes, scores and costs; an outcome counts where its tier was taken with p < 1.

    A request that was surely sent to its tier says nothing about the other one.
    """
    samples, scores, priced, moments = [], [], [], []
    watched, large_ratings = [], []
    rated = 0
    for request in requests:
        if request.score is None or not request.is_routed:
            continue
        scores.append(request.score)
        moments.append(request.ts.timestamp())
        costs = [usd_on(request, tier, prices) for tier in (Tier.SMALL, Tier.LARGE)]
        small, large = costs
        if small is not None and large is not None:
            priced.append(Priced(request.score, float(small), float(large)))
        if request.feedback is None:
            continue
        rated += 1
        if request.answer_tier is Tier.LARGE:
            large_ratings.append(request.feedback)
        elif request.confidence is not None:
            watched.append((request.confidence, request.feedback))
        if request.propensity < 1 and request.answer_tier is request.tier:
            weighted = request.feedback / request.propensity
            is_large = request.tier is Tier.LARGE
            samples.append(
                Sample(request.score, 0.0 if is_large else weighted, weighted if is_large else 0.0)
            )
    days = (max(moments) - min(moments)) / _DAY_S if moments else 0.0
    return Evidence(samples, rated, scores, priced, days, watched, large_ratings)


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
        return solve_quality(evidence.samples, goal, target.confidence)

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
