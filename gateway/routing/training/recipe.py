"""From a data folder to a classifier's file: the recipe, without chance."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from gateway.routing.classifier import FORMAT, pack_artefact
from gateway.routing.conversation import Conversation
from gateway.routing.domain import LEAST_GRAMS, script_of
from gateway.routing.exam import quantities
from gateway.routing.features import feature_names, feature_versions
from gateway.routing.training.examples import (
    LabelledPrompt,
    Outcome,
    read_outcomes,
    read_prompts,
)
from gateway.routing.training.fit import Example, Fitted, Recipe, cross_fit, fit

#: The weight of all our own prompts together, as a share of that of all outcomes: chat is what
#: people send most, exams are what there are outcomes for.
PROMPT_SHARE = 1.0
#: How much of an outcome's label is its own pair's result; the rest is that of all like pairs.
OWN_PAIR = 0.5
#: Parts for cross-fitting.
FOLDS = 4
#: A script counts as learnt when so many prompts or outcomes are written in it.
LEAST_IN_SCRIPT = 20
#: The share of held-out prompts whose words may be called foreign.
FOREIGN_SHARE = 0.01
#: Characters beyond which a question is longer than nearly all that were learnt from; the work
#: on it is bounded, so that only its ends were looked at.
LONGEST_QUESTION = 60_000


@dataclass(slots=True, frozen=True)
class TrainingReport:
    """What a training used and wrote."""

    outcomes: int
    prompts: int
    vocabulary: int
    size_bytes: int


def train(
    data: Path,
    output: Path,
    *,
    recipe: Recipe | None = None,
    without: Collection[str] = (),
    with_dev: bool = False,
    prompts: Path | None = None,
) -> TrainingReport:
    """Fit on the train splits, calibrate on `dev` and our held-out prompts, write `output`.

    With `with_dev` the weights learn from `dev` too, and calibration goes by cross-fitting: more
    to learn from, and no `dev` to measure on. The same data give the same bytes. Sources named in
    `without` are left out; `prompts` is a folder of labelled prompts in place of the package's.
    Raises DataError.
    """
    outcomes = [one for one in read_outcomes(data) if one.source not in without]
    own = read_prompts(prompts)
    dev = [one for one in outcomes if one.split == "dev"]
    splits = {"train", "dev"} if with_dev else {"train"}
    learnt = [one for one in outcomes if one.split in splits]
    learnt_prompts = [one for one in own if one.split == "train"]
    heldout = [one for one in own if one.split == "heldout"]
    chosen = recipe or Recipe()
    if with_dev:
        fitted, by_id = _cross_fitted(learnt, learnt_prompts, heldout, chosen)
        dev_scores = [by_id[one.id] for one in dev]
    else:
        fitted = fit(_examples(learnt, learnt_prompts), _examples(dev, heldout), chosen)
        dev_scores = [fitted.score(example) for example in _examples(dev, [])]
    own_scores = [fitted.score(example) for example in _examples([], heldout)]
    artefact = {
        **_weights(fitted),
        "domain": _domain([*learnt, *learnt_prompts], fitted, heldout),
        "operating_points": _operating_points(dev, dev_scores, own_scores or dev_scores),
        "calibration": [
            [round(score, 4), one.small_score, one.large_score]
            for score, one in zip(dev_scores, dev, strict=True)
        ],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    packed = pack_artefact(artefact)
    output.write_bytes(packed)
    return TrainingReport(
        outcomes=len(learnt),
        prompts=len(learnt_prompts),
        vocabulary=len(fitted.chat.grams),
        size_bytes=len(packed),
    )


def _cross_fitted(
    outcomes: Sequence[Outcome],
    prompts: Sequence[LabelledPrompt],
    heldout: Sequence[LabelledPrompt],
    recipe: Recipe,
) -> tuple[Fitted, dict[str, float]]:
    """A fit on everything, and by outcome a score of heads that saw none of its near duplicates."""
    folds: list[list[Outcome]] = [[] for _ in range(FOLDS)]
    for one in outcomes:
        folds[int(hashlib.sha256(one.group.encode()).hexdigest(), 16) % FOLDS].append(one)
    everything = _examples(outcomes, prompts)
    others = everything[len(outcomes) :]
    examples = dict(zip((one.id for one in outcomes), everything, strict=False))
    fitted, scores = cross_fit(
        [[examples[one.id] for one in fold] for fold in folds],
        others,
        _examples([], heldout, beside=len(outcomes)),
        recipe,
    )
    in_order = (one.id for fold in folds for one in fold)
    return fitted, dict(zip(in_order, scores, strict=True))


def _examples(
    outcomes: Sequence[Outcome],
    prompts: Sequence[LabelledPrompt],
    *,
    beside: int | None = None,
) -> list[Example]:
    """Outcomes weigh 1 each; prompts share their weight evenly over the languages.

    It is that of the outcomes, or of so many `beside` them.
    """
    by_language = Counter(prompt.language for prompt in prompts)
    total = PROMPT_SHARE * (len(outcomes) if beside is None else beside) or len(prompts)
    return [
        *(
            Example.of(one.messages, _label(one), 1.0, one.large_score - one.small_score)
            for one in outcomes
        ),
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


def _domain(
    learnt: Sequence[Outcome | LabelledPrompt],
    fitted: Fitted,
    heldout: Sequence[LabelledPrompt],
) -> Mapping[str, Any]:
    """What was seen enough of: scripts, length, and how many n-grams are known as a rule."""
    questions = [Conversation(one.messages).question for one in learnt]
    scripts = Counter(script_of(question) for question in questions)
    shares = sorted(
        sum(gram in fitted.chat.grams for gram in example.grams) / len(example.grams)
        for example in _examples([], heldout)
        if len(example.grams) >= LEAST_GRAMS
    )
    return {
        "scripts": sorted(s for s, n in scripts.items() if s and n >= LEAST_IN_SCRIPT),
        "least_known": round(shares[int(FOREIGN_SHARE * len(shares))], 4) if shares else 0.0,
        "longest": LONGEST_QUESTION,
    }


def _weights(fitted: Fitted) -> Mapping[str, Any]:
    vocabulary = {
        gram: [round(weight, 3), round(fitted.exam.grams[gram], 3)]
        for gram, weight in fitted.chat.grams.items()
    }
    rows = zip(
        feature_names(), fitted.scaling, fitted.chat.features, fitted.exam.features, strict=True
    )
    return {
        "format": FORMAT,
        "families": feature_versions(),
        "features": {
            name: [round(float(number), 6) for number in (*scaling, chat, exam)]
            for name, scaling, chat, exam in rows
        },
        "vocabulary": {gram: weights for gram, weights in vocabulary.items() if any(weights)},
        "bias": [round(fitted.chat.bias, 6), round(fitted.exam.bias, 6)],
        "forest": {
            "version": quantities.VERSION,
            "names": fitted.forest.names,
            "trees": [
                [tree.quantity, tree.split, tree.left, tree.right, tree.value]
                for tree in fitted.forest.trees
            ],
        },
        "forms": {
            form: [round(number, 6) for number in numbers] for form, numbers in fitted.forms.items()
        },
    }
