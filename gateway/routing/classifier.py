"""The difficulty score: a sum over features, n-grams and, for exams, trees; then calibrated.

Two heads share one look at the conversation. The chat head was fitted to our own labelled prompts
and to outcomes of model pairs, the exam head to outcomes alone. By the form of the question
(`conversation.FORMS`) they are mixed:

    log-odds = a chat + b exam + c,    exam = linear part + forest

Everything but the forest is linear, so each form has one merged set of weights; the forest
explains itself exactly too. What each part adds to the log-odds is its contribution.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from operator import mul
from pathlib import Path
from typing import Any

from gateway.core.decision import Contribution
from gateway.routing.conversation import FORMS, Conversation, Form
from gateway.routing.domain import Domain
from gateway.routing.exam import quantities
from gateway.routing.exam.forest import Forest
from gateway.routing.features import (
    families,
    feature_names,
    feature_values,
    feature_versions,
)
from gateway.routing.features.family import Family
from gateway.routing.ngrams import ngram_share, ngrams_of

FORMAT = 2
_SHIPPED = "the shipped file"

Messages = Sequence[Mapping[str, Any]]


class ArtefactMismatch(Exception):
    """The classifier's file doesn't fit this version of the features."""


@dataclass(slots=True, frozen=True)
class OperatingPoint:
    """What a threshold led to on the classifier's own dev outcomes.

    `quality` is the share kept of the large tier's quality, `large_share` the share of chat
    prompts that go to the large tier; both 0 to 1.
    """

    threshold: float
    quality: float
    large_share: float


@dataclass(slots=True, frozen=True)
class Assessment:
    """A score (0..1), the question's form, and why the score can't be relied on, if so."""

    score: float
    form: Form
    foreign: str | None = None


class Scorer:
    """Scores conversations. `version` is the digest of the file that it was loaded from."""

    def __init__(self, artefact: Mapping[str, Any], version: str) -> None:
        """`artefact` as `training.recipe` writes it. Raises ArtefactMismatch."""
        _check(artefact)
        self.version = version
        self._names = feature_names()
        self._forest = Forest.of(artefact["forest"])
        self._domain = Domain.of(artefact["domain"])
        vocabulary: Mapping[str, Sequence[float]] = artefact["vocabulary"]
        self._vocabulary = {gram: place for place, gram in enumerate(vocabulary)}
        self._forms = {form: _form_weights(artefact, form, self._names) for form in FORMS}
        self.operating_points = [OperatingPoint(*point) for point in artefact["operating_points"]]

    def score(self, messages: Messages) -> float:
        """The probability (0..1) that the small tier's answer falls short of the large tier's."""
        return self.assess(messages).score

    def assess(self, messages: Messages) -> Assessment:
        """The score, with the reasons not to trust it."""
        conversation = Conversation(messages)
        form = conversation.form
        weights = self._forms[form]
        grams = ngrams_of(conversation)
        known = self._known(grams)
        logit = weights.bias_at_zero
        for family, slopes in weights.exam if conversation.is_exam else weights.plain:
            logit += sum(map(mul, slopes, family.compute(conversation)))
        logit += sum(map(weights.grams.__getitem__, known)) * ngram_share(len(known))
        if weights.forest:
            logit += weights.forest * self._forest.value(quantities.quantities_of(conversation))
        foreign = self._domain.foreign(conversation, len(grams), len(known))
        return Assessment(_logistic(logit), form, foreign)

    def contributions(self, messages: Messages) -> tuple[Contribution, ...]:
        """What each feature, n-gram and quantity added to the log-odds, the largest effect first.

        The effects and the bias (given as the feature `bias`) add up to the score's log-odds.
        """
        conversation = Conversation(messages)
        weights = self._forms[conversation.form]
        bias = weights.bias_at_zero + sum(map(mul, weights.slopes, weights.means))
        parts = [
            Contribution(name, value, slope * (value - mean))
            for name, value, slope, mean in zip(
                self._names,
                feature_values(conversation),
                weights.slopes,
                weights.means,
                strict=True,
            )
        ]
        grams = [gram for gram in ngrams_of(conversation) if gram in self._vocabulary]
        share = ngram_share(len(grams))
        parts += [
            Contribution(
                f"text: {gram.replace('_', ' ')}",
                share,
                share * weights.grams[self._vocabulary[gram]],
            )
            for gram in grams
        ]
        if weights.forest:
            found = quantities.quantities_of(conversation)
            base, effects = self._forest.effects(found)
            bias += weights.forest * base
            parts += [
                Contribution(f"exam: {name.replace('_', ' ')}", value, weights.forest * effect)
                for value, (name, effect) in zip(found, effects.items(), strict=True)
            ]
        parts.append(Contribution("bias", 1.0, bias))
        return tuple(
            sorted((part for part in parts if part.effect), key=lambda part: -abs(part.effect))
        )

    def _known(self, grams: Sequence[str]) -> list[int]:
        places = map(self._vocabulary.get, grams)
        return [place for place in places if place is not None]


@dataclass(slots=True, frozen=True)
class _FormWeights:
    """The merged weights of one form of question; `bias_at_zero` is that of all-zero values.

    `slopes` are those of `feature_names`; `plain` and `exam` are the ones that weigh in questions
    without and with the form of an exam, by family.
    """

    bias_at_zero: float
    slopes: Sequence[float]
    means: Sequence[float]
    grams: Sequence[float]
    forest: float
    plain: Sequence[tuple[Family, Sequence[float]]]
    exam: Sequence[tuple[Family, Sequence[float]]]


def _form_weights(artefact: Mapping[str, Any], form: Form, names: Sequence[str]) -> _FormWeights:
    chat, exam, intercept = artefact["forms"][form]
    features: Mapping[str, Sequence[float]] = artefact["features"]
    bias_chat, bias_exam = artefact["bias"]
    slopes, means = [], []
    for name in names:
        mean, scale, chat_weight, exam_weight = features.get(name, (0.0, 1.0, 0.0, 0.0))
        slopes.append((chat * chat_weight + exam * exam_weight) / scale)
        means.append(float(mean))
    bias = chat * bias_chat + exam * bias_exam + intercept
    return _FormWeights(
        bias_at_zero=bias - sum(map(mul, slopes, means)),
        slopes=slopes,
        means=means,
        grams=array("d", (chat * c + exam * e for c, e in artefact["vocabulary"].values())),
        forest=float(exam),
        plain=_by_family(names, slopes, in_exams=False),
        exam=_by_family(names, slopes, in_exams=True),
    )


def _by_family(
    names: Sequence[str], slopes: Sequence[float], *, in_exams: bool
) -> list[tuple[Family, Sequence[float]]]:
    by_name = dict(zip(names, slopes, strict=True))
    return [
        (
            family,
            [
                by_name[
                    f"exam.{family.name}.{name}"
                    if in_exams and family.weighs_apart
                    else f"{family.name}.{name}"
                ]
                for name in family.features
            ],
        )
        for family in families()
    ]


def load_scorer(path: Path | None = None) -> Scorer:
    """The scorer of a file written by `slm-gateway train`; without a path, the shipped one.

    Raises ArtefactMismatch, or OSError where the file can't be read.
    """
    return _scorer_of(_packed(path), str(path or _SHIPPED))


def load_artefact(path: Path | None = None) -> tuple[Mapping[str, Any], str]:
    """The parsed file and its version. Raises as `load_scorer` does."""
    return _unpacked(_packed(path), str(path or _SHIPPED))


@lru_cache(maxsize=2)
def _scorer_of(packed: bytes, source: str) -> Scorer:
    """One for the same content, however often a running gateway reads its configuration again."""
    return Scorer(*_unpacked(packed, source))


def _packed(path: Path | None) -> bytes:
    if path is not None:
        return path.read_bytes()
    return resources.files("gateway.routing").joinpath("weights", "router.json.gz").read_bytes()


def artefact_version(packed: bytes) -> str:
    """The version of a classifier's file, by its content. Raises ArtefactMismatch."""
    return _unpacked(packed, "it")[1]


def pack_artefact(artefact: Mapping[str, Any]) -> bytes:
    """A classifier's file; the same artefact gives the same bytes."""
    content = json.dumps(artefact, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return gzip.compress(content.encode(), 9, mtime=0)


def _unpacked(packed: bytes, source: str) -> tuple[Mapping[str, Any], str]:
    try:
        content = gzip.decompress(packed)
        artefact = json.loads(content)
    except (OSError, EOFError, ValueError) as error:
        raise ArtefactMismatch(f"{source} is not a classifier's file: {error}") from error
    return artefact, f"r{FORMAT}-{hashlib.sha256(content).hexdigest()[:10]}"


def _check(artefact: Mapping[str, Any]) -> None:
    if not isinstance(artefact, Mapping) or artefact.get("format") != FORMAT:
        raise ArtefactMismatch("the classifier's file has another format: train it again")
    trained = {**artefact["families"], "quantities": artefact["forest"]["version"]}
    current = {**feature_versions(), "quantities": quantities.VERSION}
    for family, version in trained.items():
        if current.get(family) != version:
            raise ArtefactMismatch(
                f"the classifier was trained with version {version} of the features '{family}', "
                f"here is version {current.get(family)}: train it again with `slm-gateway train`"
            )
    unknown = sorted(artefact["features"].keys() - set(feature_names()))
    if unknown or tuple(artefact["forest"]["names"]) != quantities.NAMES:
        raise ArtefactMismatch(f"the classifier knows features that are gone: {unknown}")


def _logistic(logit: float) -> float:
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    exponential = math.exp(logit)
    return exponential / (1 + exponential)
