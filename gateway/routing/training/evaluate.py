"""Measures a scorer on outcome tables and on our own held-out prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.routing.classifier import Scorer
from gateway.routing.training.baselines import Score, baselines
from gateway.routing.training.examples import (
    LabelledPrompt,
    Outcome,
    read_outcomes,
    read_prompts,
)
from gateway.routing.training.metrics import (
    Scored,
    apgr,
    apgr_interval,
    auroc,
    calibration_error,
    call_share_for,
    curve_band,
)

_RESAMPLES = 200

#: A point of a curve: share sent to the large tier, quality, and the ends of its 95 % interval.
CurvePoint = tuple[float, float, float, float]


@dataclass(slots=True, frozen=True)
class Measurement:
    """One router on one source.

    For our own prompts, which have no outcomes, `auroc` is the share of (easy, hard) pairs in the
    right order, and the figures of the cost-quality curve are None. `interval` is the 95 %
    bootstrap interval of APGR. Only probabilities have a `calibration_error`.
    """

    source: str
    router: str
    prompts: int
    apgr: float | None
    interval: tuple[float, float] | None
    cpt50: float | None
    cpt80: float | None
    auroc: float | None
    calibration_error: float | None


@dataclass(slots=True, frozen=True)
class Evaluation:
    """Every measurement, and by source and router the cost-quality curve with its band."""

    measurements: Sequence[Measurement]
    curves: Mapping[str, Mapping[str, Sequence[CurvePoint]]]


def evaluate(scorer: Scorer, data: Path, split: str, *, prompts: Path | None = None) -> Evaluation:
    """A row for each source and router: ours and the baselines. Raises DataError."""
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    learnt = []
    for outcome in read_outcomes(data):
        if outcome.split == split:
            outcomes[f"{outcome.source}/{outcome.benchmark}"].append(outcome)
        if outcome.split == "train" != split:
            learnt.append(outcome)
    own: dict[str, list[LabelledPrompt]] = defaultdict(list)
    for prompt in read_prompts(prompts):
        if prompt.split == "heldout":
            own["own prompts"].append(prompt)
            own[f"own prompts, {prompt.language}"].append(prompt)
            own[f"own prompts, {prompt.kind}"].append(prompt)
    routers: Mapping[str, Score] = {scorer.version: scorer.score, **baselines(learnt)}
    scored = {
        source: {name: _scored(rows, score) for name, score in routers.items()}
        for source, rows in sorted(outcomes.items())
    }
    measurements = [
        _on_outcomes(source, name, rows, is_probability=name == scorer.version)
        for source, by_router in scored.items()
        for name, rows in by_router.items()
    ]
    measurements += [
        _on_prompts(source, name, rows, score, is_probability=name == scorer.version)
        for source, rows in sorted(own.items())
        for name, score in routers.items()
    ]
    curves = {
        source: {name: curve_band(rows, _RESAMPLES) for name, rows in by_router.items()}
        for source, by_router in scored.items()
    }
    return Evaluation(measurements, curves)


def _scored(outcomes: Sequence[Outcome], score: Score) -> list[Scored]:
    return [Scored(score(one.messages), one.small_score, one.large_score) for one in outcomes]


def _on_outcomes(
    source: str, router: str, scored: Sequence[Scored], *, is_probability: bool
) -> Measurement:
    scores = [one.score for one in scored]
    falls_short = [one.large > one.small for one in scored]
    events = list(map(float, falls_short))
    return Measurement(
        source=source,
        router=router,
        prompts=len(scored),
        apgr=apgr(scored),
        interval=apgr_interval(scored, _RESAMPLES),
        cpt50=call_share_for(scored, 0.5),
        cpt80=call_share_for(scored, 0.8),
        auroc=auroc(scores, falls_short),
        calibration_error=calibration_error(scores, events) if is_probability else None,
    )


def _on_prompts(
    source: str,
    router: str,
    prompts: Sequence[LabelledPrompt],
    score: Score,
    *,
    is_probability: bool,
) -> Measurement:
    scores = [score(prompt.messages) for prompt in prompts]
    decided = [
        (value, prompt.difficulty > 0.5)
        for value, prompt in zip(scores, prompts, strict=True)
        if prompt.difficulty != 0.5
    ]
    labels = [prompt.difficulty for prompt in prompts]
    return Measurement(
        source=source,
        router=router,
        prompts=len(prompts),
        apgr=None,
        interval=None,
        cpt50=None,
        cpt80=None,
        auroc=auroc([value for value, _ in decided], [is_hard for _, is_hard in decided]),
        calibration_error=calibration_error(scores, labels) if is_probability else None,
    )
