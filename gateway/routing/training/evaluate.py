"""Measures a scorer on outcome tables and on our own held-out prompts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.routing.classifier import Scorer
from gateway.routing.conversation import Conversation
from gateway.routing.training.examples import Example, outcome_examples, own_examples
from gateway.routing.training.metrics import apgr, auroc, calibration_error, cpt, ordered_share

ScoreExample = Callable[[Example], float]


@dataclass(slots=True, frozen=True)
class Measurement:
    """One router on one source. For prompts without outcomes `auroc` is the share of ordered pairs
    (hard above easy), and the curve's figures are None."""

    source: str
    router: str
    prompts: int
    apgr: float | None
    cpt50: float | None
    cpt80: float | None
    auroc: float | None
    calibration_error: float | None


def evaluate(scorer: Scorer, data: Path, split: str) -> list[Measurement]:
    """A row for each source and router: ours, length, random. Raises DataError."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in outcome_examples(data):
        if example.split == split:
            groups[example.source].append(example)
            if "/" in example.kind:
                groups[f"{example.source}/{example.kind.split('/')[0]}"].append(example)
    for example in own_examples():
        if example.split == "heldout":
            groups["own prompts"].append(example)
            groups[f"own prompts, {example.language}"].append(example)
    chance = random.Random(0)  # noqa: S311 (a control, not a secret)
    routers: dict[str, ScoreExample] = {
        scorer.version: lambda example: scorer.score(example.messages),
        "length": lambda example: float(len(Conversation(example.messages).question)),
        "random": lambda _: chance.random(),
    }
    return [
        _measured(source, name, examples, [score(example) for example in examples])
        for source, examples in sorted(groups.items())
        for name, score in routers.items()
    ]


def _measured(
    source: str, router: str, examples: Sequence[Example], scores: Sequence[float]
) -> Measurement:
    points = [
        (score, example.small_score, example.large_score)
        for score, example in zip(scores, examples, strict=True)
        if example.small_score is not None and example.large_score is not None
    ]
    calibrated = router not in {"length", "random"}
    if not points:
        labels = [example.difficulty for example in examples]
        easy = [score for score, label in zip(scores, labels, strict=True) if label < 0.5]
        hard = [score for score, label in zip(scores, labels, strict=True) if label > 0.5]
        error = calibration_error(scores, labels) if calibrated else None
        ordered = ordered_share(easy, hard)
        return Measurement(source, router, len(scores), None, None, None, ordered, error)
    short = [max(0.0, large - small) for _, small, large in points]
    return Measurement(
        source=source,
        router=router,
        prompts=len(points),
        apgr=apgr(points),
        cpt50=cpt(points, 0.5),
        cpt80=cpt(points, 0.8),
        auroc=auroc(
            [score for score, small, large in points if small < large],
            [score for score, small, large in points if small >= large],
        ),
        calibration_error=calibration_error(scores, short) if calibrated else None,
    )
