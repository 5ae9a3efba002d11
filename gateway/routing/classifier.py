"""The difficulty score: an additive model over features and n-grams, calibrated.

log-odds = bias + Σ weight × (value - mean) / scale + Σ weight / √(n + 4) over the n known n-grams,
then a linear calibration (Platt 1999). Being additive, it explains itself exactly: what each part
adds to the log-odds is its contribution.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from gateway.core.decision import Contribution
from gateway.routing.conversation import Conversation
from gateway.routing.features import feature_names, feature_values, feature_versions
from gateway.routing.ngrams import ngram_share, ngrams_of

FORMAT = 1

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


class Scorer:
    """Scores conversations. `version` is the digest of the file that it was loaded from."""

    def __init__(self, artefact: Mapping[str, Any], version: str) -> None:
        """`artefact` as `training.artefact` writes it. Raises ArtefactMismatch."""
        self.version = version
        self._names = feature_names()
        weights = _checked_weights(artefact)
        slope, intercept = artefact["calibration"]
        self._vocabulary: dict[str, float] = {
            gram: weight * slope for gram, weight in artefact["vocabulary"].items()
        }
        self._feature_weights = [
            _Weight(slope * weight / scale, mean)
            for weight, mean, scale in (weights.get(name, (0.0, 0.0, 1.0)) for name in self._names)
        ]
        self._bias = slope * artefact["bias"] + intercept
        self._bias_at_zero = self._bias - sum(w.slope * w.mean for w in self._feature_weights)
        self._slopes = [weight.slope for weight in self._feature_weights]
        self.operating_points = [OperatingPoint(*point) for point in artefact["operating_points"]]

    def score(self, messages: Messages) -> float:
        """The probability (0..1) that the small tier's answer falls short of the large tier's."""
        conversation = Conversation(messages)
        values = feature_values(conversation)
        logit = self._bias_at_zero + sum(map(float.__mul__, self._slopes, values))
        known = [w for gram in ngrams_of(conversation) if (w := self._vocabulary.get(gram))]
        if known:
            logit += sum(known) * ngram_share(len(known))
        return _logistic(logit)

    def contributions(self, messages: Messages) -> tuple[Contribution, ...]:
        """What each feature and n-gram added to the log-odds, the largest effect first.

        The effects and the bias (given as the feature `bias`) add up to the score's log-odds.
        """
        conversation = Conversation(messages)
        parts = [
            Contribution(name, value, weight.slope * (value - weight.mean))
            for name, value, weight in zip(
                self._names, feature_values(conversation), self._feature_weights, strict=True
            )
        ]
        known = [gram for gram in ngrams_of(conversation) if self._vocabulary.get(gram)]
        share = ngram_share(len(known))
        parts += [
            Contribution(f"text: {gram.replace('_', ' ')}", share, share * self._vocabulary[gram])
            for gram in known
        ]
        parts.append(Contribution("bias", 1.0, self._bias))
        return tuple(
            sorted((part for part in parts if part.effect), key=lambda part: -abs(part.effect))
        )

    def threshold_for(
        self, *, quality: float | None = None, large_share: float | None = None
    ) -> float:
        """The highest threshold that kept `quality`, or the lowest within `large_share`."""
        points = self.operating_points
        if quality is not None:
            kept = [point.threshold for point in points if point.quality >= quality]
            return max(kept, default=0.0)
        wanted = 1.0 if large_share is None else large_share
        position = bisect_left([-point.large_share for point in points], -wanted)
        return points[min(position, len(points) - 1)].threshold


@dataclass(slots=True, frozen=True)
class _Weight:
    slope: float
    mean: float


def load_scorer(path: Path | None = None) -> Scorer:
    """The scorer of a file written by `slm-gateway train`; without a path, the shipped one.

    Raises ArtefactMismatch, or OSError where the file can't be read.
    """
    if path is None:
        shipped = resources.files("gateway.routing").joinpath("weights", "router.json.gz")
        packed = shipped.read_bytes()
    else:
        packed = path.read_bytes()
    try:
        content = gzip.decompress(packed)
        artefact = json.loads(content)
    except (OSError, EOFError, ValueError) as error:
        raise ArtefactMismatch(f"{path} is not a classifier's file: {error}") from error
    version = f"r{FORMAT}-{hashlib.sha256(content).hexdigest()[:10]}"
    return Scorer(artefact, version)


def _checked_weights(artefact: Mapping[str, Any]) -> Mapping[str, tuple[float, float, float]]:
    """Weight, mean and scale by feature, once they are known to fit."""
    if not isinstance(artefact, Mapping) or artefact.get("format") != FORMAT:
        raise ArtefactMismatch("the classifier's file has another format: train it again")
    current = feature_versions()
    for family, version in artefact["families"].items():
        if current.get(family) != version:
            raise ArtefactMismatch(
                f"the classifier was trained with version {version} of the features '{family}', "
                f"here is version {current.get(family)}: train it again with `slm-gateway train`"
            )
    weights: Mapping[str, tuple[float, float, float]] = artefact["features"]
    unknown = sorted(weights.keys() - set(feature_names()))
    if unknown:
        raise ArtefactMismatch(f"the classifier knows features that are gone: {unknown}")
    return weights


def _logistic(logit: float) -> float:
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    exponential = math.exp(logit)
    return exponential / (1 + exponential)
