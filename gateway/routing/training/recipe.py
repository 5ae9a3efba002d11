"""From a data folder to a classifier's file: the recipe, without chance."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from gateway.routing.classifier import FORMAT
from gateway.routing.features import feature_versions
from gateway.routing.training.examples import (
    LabelledPrompt,
    Outcome,
    read_outcomes,
    read_prompts,
)
from gateway.routing.training.fit import Example, Fitted, Recipe, calibrate, fit

#: The weight of all our own prompts together, as a share of that of all outcomes: chat is what
#: people send most, exams are what there are outcomes for.
PROMPT_SHARE = 1.0
#: How much of an outcome's label is its own pair's result; the rest is that of all like pairs.
OWN_PAIR = 0.5


@dataclass(slots=True, frozen=True)
class TrainingReport:
    """What a training used and wrote; `calibration` is slope and intercept of the log-odds."""

    outcomes: int
    prompts: int
    vocabulary: int
    calibration: tuple[float, float]
    size_bytes: int


def train(
    data: Path,
    output: Path,
    *,
    recipe: Recipe | None = None,
    without: Collection[str] = (),
    prompts: Path | None = None,
) -> TrainingReport:
    """Fit on the train splits, calibrate on `dev` and our held-out prompts, write `output`.

    The same data give the same bytes. Sources named in `without` are left out; `prompts` is a
    folder of labelled prompts in place of the package's. Raises DataError.
    """
    outcomes = [one for one in read_outcomes(data) if one.source not in without]
    own = read_prompts(prompts)
    train_outcomes = [one for one in outcomes if one.split == "train"]
    train_prompts = [one for one in own if one.split == "train"]
    dev = [one for one in outcomes if one.split == "dev"]
    checked = _examples(dev, [one for one in own if one.split == "heldout"])
    fitted = fit(_examples(train_outcomes, train_prompts), recipe or Recipe())
    logits = [fitted.logit(example) for example in checked]
    slope, intercept = calibration = calibrate(logits, checked)
    scores = [1 / (1 + math.exp(-(slope * logit + intercept))) for logit in logits]
    points = _operating_points(dev, scores[: len(dev)], scores[len(dev) :] or scores)
    output.parent.mkdir(parents=True, exist_ok=True)
    packed = _packed(_artefact(fitted, calibration, points))
    output.write_bytes(packed)
    return TrainingReport(
        outcomes=len(train_outcomes),
        prompts=len(train_prompts),
        vocabulary=len(fitted.vocabulary),
        calibration=calibration,
        size_bytes=len(packed),
    )


def _packed(artefact: Mapping[str, Any]) -> bytes:
    content = json.dumps(artefact, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return gzip.compress(content.encode(), 9, mtime=0)


def _examples(outcomes: Sequence[Outcome], prompts: Sequence[LabelledPrompt]) -> list[Example]:
    """Outcomes weigh 1 each; prompts share their weight evenly over the languages."""
    by_language = Counter(prompt.language for prompt in prompts)
    total = PROMPT_SHARE * (len(outcomes) or len(prompts))
    return [
        *(Example.of(one.messages, _label(one), 1.0) for one in outcomes),
        *(
            Example.of(
                one.messages,
                one.difficulty,
                total / len(by_language) / by_language[one.language],
            )
            for one in prompts
        ),
    ]


def _label(outcome: Outcome) -> float:
    own = float(outcome.large_score > outcome.small_score)
    return OWN_PAIR * own + (1 - OWN_PAIR) * outcome.falls_short


def _operating_points(
    outcomes: Sequence[Outcome], scores: Sequence[float], chat_scores: Sequence[float]
) -> list[tuple[float, float, float]]:
    """(threshold, share kept of the large tier's quality, share of chat sent to large)."""
    best = fmean(one.large_score for one in outcomes) or 1.0
    return [
        (
            threshold,
            round(_quality(outcomes, scores, threshold) / best, 4),
            round(fmean(score >= threshold for score in chat_scores), 4),
        )
        for threshold in (step / 100 for step in range(101))
    ]


def _quality(outcomes: Sequence[Outcome], scores: Sequence[float], threshold: float) -> float:
    return fmean(
        one.large_score if score >= threshold else one.small_score
        for one, score in zip(outcomes, scores, strict=True)
    )


def _artefact(
    fitted: Fitted,
    calibration: tuple[float, float],
    points: Sequence[tuple[float, float, float]],
) -> Mapping[str, Any]:
    vocabulary = {gram: round(weight, 4) for gram, weight in fitted.vocabulary.items()}
    return {
        "format": FORMAT,
        "families": feature_versions(),
        "features": {
            name: [round(number, 6) for number in numbers]
            for name, numbers in fitted.features.items()
        },
        "vocabulary": {gram: weight for gram, weight in vocabulary.items() if weight},
        "bias": round(fitted.bias, 6),
        "calibration": [round(number, 6) for number in calibration],
        "operating_points": points,
    }
