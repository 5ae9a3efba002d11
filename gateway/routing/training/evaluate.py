"""Measures a scorer on outcome tables and on our own held-out prompts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.routing.classifier import Scorer
from gateway.routing.conversation import Conversation
from gateway.routing.training.examples import (
    LabelledPrompt,
    Messages,
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
)

Score = Callable[[Messages], float]

_RESAMPLES = 200


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


def evaluate(
    scorer: Scorer, data: Path, split: str, *, prompts: Path | None = None
) -> list[Measurement]:
    """A row for each source and router: ours, length, random. Raises DataError."""
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in read_outcomes(data):
        if outcome.split == split:
            outcomes[f"{outcome.source}/{outcome.benchmark}"].append(outcome)
    own: dict[str, list[LabelledPrompt]] = defaultdict(list)
    for prompt in read_prompts(prompts):
        if prompt.split == "heldout":
            own["own prompts"].append(prompt)
            own[f"own prompts, {prompt.language}"].append(prompt)
            own[f"own prompts, {prompt.kind}"].append(prompt)
    routers = _routers(scorer)
    return [
        *(
            _on_outcomes(source, name, rows, score)
            for source, rows in sorted(outcomes.items())
            for name, score in routers.items()
        ),
        *(
            _on_prompts(source, name, rows, score)
            for source, rows in sorted(own.items())
            for name, score in routers.items()
        ),
    ]


def _routers(scorer: Scorer) -> Mapping[str, Score]:
    chance = random.Random(0)  # noqa: S311 (a control, not a secret)
    return {
        scorer.version: scorer.score,
        "length": lambda messages: float(len(Conversation(messages).question)),
        "random": lambda _: chance.random(),
    }


def _on_outcomes(
    source: str, router: str, outcomes: Sequence[Outcome], score: Score
) -> Measurement:
    scored = [Scored(score(one.messages), one.small_score, one.large_score) for one in outcomes]
    scores = [one.score for one in scored]
    falls_short = [one.large > one.small for one in scored]
    return Measurement(
        source=source,
        router=router,
        prompts=len(scored),
        apgr=apgr(scored),
        interval=apgr_interval(scored, _RESAMPLES),
        cpt50=call_share_for(scored, 0.5),
        cpt80=call_share_for(scored, 0.8),
        auroc=auroc(scores, falls_short),
        calibration_error=_error(router, scores, list(map(float, falls_short))),
    )


def _on_prompts(
    source: str, router: str, prompts: Sequence[LabelledPrompt], score: Score
) -> Measurement:
    scores = [score(prompt.messages) for prompt in prompts]
    decided = [
        (value, prompt.difficulty > 0.5)
        for value, prompt in zip(scores, prompts, strict=True)
        if prompt.difficulty != 0.5
    ]
    return Measurement(
        source=source,
        router=router,
        prompts=len(prompts),
        apgr=None,
        interval=None,
        cpt50=None,
        cpt80=None,
        auroc=auroc([value for value, _ in decided], [is_hard for _, is_hard in decided]),
        calibration_error=_error(router, scores, [prompt.difficulty for prompt in prompts]),
    )


def _error(router: str, scores: Sequence[float], events: Sequence[float]) -> float | None:
    return None if router in {"length", "random"} else calibration_error(scores, events)
