"""Weights for features and vocabulary by logistic regression, then a calibration on dev."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from gateway.routing.conversation import Conversation
from gateway.routing.features import feature_names, feature_values
from gateway.routing.ngrams import ngram_share, ngrams_of
from gateway.routing.training.examples import Messages


@dataclass(slots=True, frozen=True)
class Example:
    """What a conversation looks like to the model, with its soft label and its weight."""

    values: Sequence[float]
    grams: Sequence[str]
    label: float
    weight: float

    @classmethod
    def of(cls, messages: Messages, label: float, weight: float) -> Example:
        """`label` is the probability (0..1) that the small tier falls short."""
        conversation = Conversation(messages)
        return cls(feature_values(conversation), ngrams_of(conversation), label, weight)


@dataclass(slots=True, frozen=True)
class Recipe:
    """The choices of a training, made on the dev split.

    `feature_strength` is the inverse of the features' regularisation, `gram_strength` that of the
    n-grams relative to it; `vocabulary_size` n-grams are kept, each in `least_examples` or more.
    """

    feature_strength: float = 0.02
    gram_strength: float = 6.0
    vocabulary_size: int = 20_000
    least_examples: int = 4


@dataclass(slots=True, frozen=True)
class Fitted:
    """An uncalibrated model: (weight, mean, scale) by feature, weight by n-gram, bias."""

    features: Mapping[str, tuple[float, float, float]]
    vocabulary: Mapping[str, float]
    bias: float

    def logit(self, example: Example) -> float:
        """The log-odds before calibration."""
        weights = map(self.features.__getitem__, feature_names())
        logit = self.bias + sum(
            weight * (value - mean) / scale
            for value, (weight, mean, scale) in zip(example.values, weights, strict=True)
        )
        known = [w for gram in example.grams if (w := self.vocabulary.get(gram))]
        return logit + sum(known) * ngram_share(len(known))


def fit(examples: Sequence[Example], recipe: Recipe) -> Fitted:
    """Fit all weights together, keep the n-grams that matter, fit again on those alone."""
    scaling = _scaling(examples)
    vocabulary = _frequent(examples, recipe)
    wide = _fit_once(examples, scaling, vocabulary, recipe)
    strongest = sorted(wide.vocabulary, key=lambda gram: (-abs(wide.vocabulary[gram]), gram))
    return _fit_once(examples, scaling, set(strongest[: recipe.vocabulary_size]), recipe)


def calibrate(logits: Sequence[float], examples: Sequence[Example]) -> tuple[float, float]:
    """Slope and intercept of the log-odds (Platt), by the examples' labels and weights."""
    rows = [{"logit": logit} for logit in logits]
    model, _ = _logistic(rows, examples, strength=1e4)
    return float(model.coef_[0][0]), float(model.intercept_[0])


def _scaling(examples: Sequence[Example]) -> list[tuple[float, float]]:
    columns = zip(*(example.values for example in examples), strict=True)
    return [(fmean(column), pstdev(column) or 1.0) for column in columns]


def _frequent(examples: Sequence[Example], recipe: Recipe) -> set[str]:
    counts = Counter(gram for example in examples for gram in example.grams)
    return {gram for gram, count in counts.items() if count >= recipe.least_examples}


def _fit_once(
    examples: Sequence[Example],
    scaling: Sequence[tuple[float, float]],
    vocabulary: set[str],
    recipe: Recipe,
) -> Fitted:
    names = feature_names()
    rows = []
    for example in examples:
        known = [gram for gram in example.grams if gram in vocabulary]
        share = recipe.gram_strength * ngram_share(len(known))
        row = {f"gram:{gram}": share for gram in known}
        for name, value, (mean, scale) in zip(names, example.values, scaling, strict=True):
            row[name] = (value - mean) / scale
        rows.append(row)
    model, columns = _logistic(rows, examples, recipe.feature_strength)
    weights = dict(zip(columns, map(float, model.coef_[0]), strict=True))
    return Fitted(
        features={
            name: (weights[name], mean, scale)
            for name, (mean, scale) in zip(names, scaling, strict=True)
        },
        vocabulary={
            column.removeprefix("gram:"): weight * recipe.gram_strength
            for column, weight in weights.items()
            if column.startswith("gram:")
        },
        bias=float(model.intercept_[0]),
    )


def _logistic(
    rows: Sequence[Mapping[str, float]], examples: Sequence[Example], strength: float
) -> tuple[LogisticRegression, Sequence[str]]:
    """A soft label is two rows: one of either class, weighted by the label."""
    vectorizer = DictVectorizer()
    matrix = vectorizer.fit_transform([*rows, *rows])
    classes = [1] * len(rows) + [0] * len(rows)
    weights = [e.weight * e.label for e in examples] + [e.weight * (1 - e.label) for e in examples]
    model = LogisticRegression(C=strength, max_iter=400, tol=1e-4)
    model.fit(matrix, classes, sample_weight=weights)
    return model, vectorizer.get_feature_names_out()
