"""Fits the two heads and the forest, then mixes them by the form of the question."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack, vstack
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from gateway.routing.conversation import FORMS, Conversation, Form
from gateway.routing.exam.forest import LEAF, Forest, Tree
from gateway.routing.exam.quantities import NAMES, quantities_of
from gateway.routing.features import feature_names, feature_values
from gateway.routing.ngrams import ngram_share, ngrams_of
from gateway.routing.training.examples import Messages

Vector = NDArray[np.float64]

#: What the chat head and the exam head say of a question.
Logits = tuple[float, float]

_SEED = 0


@dataclass(slots=True, frozen=True)
class Example:
    """What a conversation looks like to the model, with its soft label and its weight.

    `gap` is what the large tier's answer was better by (-1 to 1); None where nobody has measured
    it, as for prompts that were labelled by hand.
    """

    values: Sequence[float]
    grams: Sequence[str]
    quantities: Sequence[float]
    form: Form
    label: float
    weight: float
    gap: float | None = None

    @classmethod
    def of(
        cls, messages: Messages, label: float, weight: float, gap: float | None = None
    ) -> Example:
        """`label` is the probability (0..1) that the small tier falls short."""
        conversation = Conversation(messages)
        return cls(
            feature_values(conversation),
            ngrams_of(conversation),
            quantities_of(conversation),
            conversation.form,
            label,
            weight,
            gap,
        )


@dataclass(slots=True, frozen=True)
class Recipe:
    """The choices of a training, made by cross-validation on train and dev.

    The chat head is a logistic regression: `feature_strength` is the inverse of the features'
    regularisation, `gram_strength` that of the n-grams relative to it. The exam head is a ridge
    regression (`exam_penalty`, `exam_feature_scale` the features' share of it) beside `bags`
    boosted forests of `rounds` trees, each on a part of the questions. `length_prior` makes
    longer exam questions harder, as they are in every source: what was learnt of one source's
    format may fail in another. A word problem counts `exam_share_in_problems` of the exam head
    beside the whole chat head: people send such problems too. N-grams are kept that stand in
    `least_outcomes` outcomes or `least_prompts` of our own prompts.
    """

    feature_strength: float = 0.02
    gram_strength: float = 6.0
    least_outcomes: int = 10
    least_prompts: int = 3
    exam_penalty: float = 4.0
    exam_feature_scale: float = 0.02
    exam_linear_share: float = 0.7
    exam_share_in_problems: float = 1.0
    length_prior: float = 0.3
    bags: int = 5
    rounds: int = 40


@dataclass(slots=True, frozen=True)
class Head:
    """A linear model: a weight for each standardised feature and each n-gram, and a bias."""

    features: Vector
    grams: Mapping[str, float]
    bias: float


@dataclass(slots=True, frozen=True)
class Fitted:
    """Both heads over the same standardised features and vocabulary, and the forest.

    `forms` holds, by form, the weights of the chat and the exam head and an intercept.
    """

    scaling: Sequence[tuple[float, float]]
    chat: Head
    exam: Head
    forest: Forest
    forms: Mapping[Form, tuple[float, float, float]]

    def logits(self, example: Example) -> Logits:
        """What the chat head and the exam head (with its forest) say, uncalibrated."""
        standard = [
            (value - mean) / scale
            for value, (mean, scale) in zip(example.values, self.scaling, strict=True)
        ]
        known = [gram for gram in example.grams if gram in self.chat.grams]
        share = ngram_share(len(known))
        chat, exam = (
            head.bias
            + float(np.dot(head.features, standard))
            + share * sum(head.grams[gram] for gram in known)
            for head in (self.chat, self.exam)
        )
        return chat, exam + self.forest.value(example.quantities)

    def score(self, example: Example) -> float:
        """The calibrated score."""
        return self.calibrated(example.form, self.logits(example))

    def calibrated(self, form: Form, logits: Logits) -> float:
        """The score for what the heads say of a question."""
        a, b, c = self.forms[form]
        return 1 / (1 + math.exp(-(a * logits[0] + b * logits[1] + c)))


def fit(examples: Sequence[Example], checked: Sequence[Example], recipe: Recipe) -> Fitted:
    """Fit on `examples`; mix and calibrate on `checked`, which were not fitted."""
    unmixed = _fit_heads(examples, recipe)
    logits = [unmixed.logits(example) for example in checked]
    return replace(unmixed, forms=_mixed(checked, logits, recipe))


def cross_fit(
    folds: Sequence[Sequence[Example]],
    others: Sequence[Example],
    checked: Sequence[Example],
    recipe: Recipe,
) -> tuple[Fitted, list[float]]:
    """Fit on all folds and `others`; mix on what each fold gets from heads that never saw it.

    `checked` are fitted by none. Returns the folds' scores too, in order, made in this way.
    """
    logits = []
    for fold in folds:
        rest = [example for other in folds if other is not fold for example in other]
        heads = _fit_heads([*rest, *others], recipe)
        logits += [heads.logits(example) for example in fold]
    examples = [example for fold in folds for example in fold]
    unmixed = _fit_heads([*examples, *others], recipe)
    seen = [*logits, *(unmixed.logits(example) for example in checked)]
    fitted = replace(unmixed, forms=_mixed([*examples, *checked], seen, recipe))
    scores = [
        fitted.calibrated(example.form, found)
        for example, found in zip(examples, logits, strict=True)
    ]
    return fitted, scores


def _fit_heads(examples: Sequence[Example], recipe: Recipe) -> Fitted:
    columns = zip(*(example.values for example in examples), strict=True)
    scaling = [(fmean(column), pstdev(column) or 1.0) for column in columns]
    vocabulary = _vocabulary(examples, recipe)
    chat = _chat_head(examples, scaling, vocabulary, recipe)
    measured = [example for example in examples if example.gap is not None]
    if measured:
        exam, forest = _exam_head(measured, scaling, vocabulary, recipe)
    else:
        exam = Head(np.zeros(len(scaling)), dict.fromkeys(vocabulary, 0.0), 0.0)
        forest = Forest(NAMES, [])
    return Fitted(scaling, chat, exam, forest, {})


def _vocabulary(examples: Sequence[Example], recipe: Recipe) -> list[str]:
    outcomes = Counter(gram for e in examples if e.gap is not None for gram in e.grams)
    prompts = Counter(gram for e in examples if e.gap is None for gram in e.grams)
    kept = {gram for gram, count in outcomes.items() if count >= recipe.least_outcomes}
    return sorted(kept | {gram for gram, count in prompts.items() if count >= recipe.least_prompts})


def _design(
    examples: Sequence[Example], scaling: Sequence[tuple[float, float]], vocabulary: Sequence[str]
) -> tuple[csr_matrix, csr_matrix]:
    """Standardised features, and n-grams with the share that each has in its text."""
    means, scales = np.array(scaling).T
    features = csr_matrix((np.array([e.values for e in examples]) - means) / scales)
    places = {gram: place for place, gram in enumerate(vocabulary)}
    ends, columns, shares = [0], [], []
    for example in examples:
        known = [places[gram] for gram in example.grams if gram in places]
        columns += known
        shares += [ngram_share(len(known))] * len(known)
        ends.append(len(columns))
    shape = (len(examples), len(vocabulary))
    return features, csr_matrix((shares, columns, ends), shape=shape)


def _chat_head(
    examples: Sequence[Example],
    scaling: Sequence[tuple[float, float]],
    vocabulary: Sequence[str],
    recipe: Recipe,
) -> Head:
    features, grams = _design(examples, scaling, vocabulary)
    matrix = hstack([features, recipe.gram_strength * grams]).tocsr()
    model = _logistic(matrix, examples, recipe.feature_strength)
    weights = model.coef_[0]
    size = len(scaling)
    return Head(
        weights[:size],
        dict(zip(vocabulary, map(float, weights[size:] * recipe.gram_strength), strict=True)),
        float(model.intercept_[0]),
    )


def _exam_head(
    measured: Sequence[Example],
    scaling: Sequence[tuple[float, float]],
    vocabulary: Sequence[str],
    recipe: Recipe,
) -> tuple[Head, Forest]:
    """Linear part and forest, each standardised over the measured examples, then added."""
    gaps = np.array([example.gap for example in measured])
    features, grams = _design(measured, scaling, vocabulary)
    rarity = _rarity(grams)
    matrix = hstack([recipe.exam_feature_scale * features, grams.multiply(rarity)]).tocsr()
    ridge = Ridge(alpha=recipe.exam_penalty, solver="sparse_cg", tol=1e-4)
    ridge.fit(matrix, gaps)
    size = len(scaling)
    share = recipe.exam_linear_share / (float(np.std(ridge.predict(matrix))) or 1.0)
    weights = ridge.coef_[:size] * recipe.exam_feature_scale * share
    weights += _length_prior(scaling, measured, recipe)
    linear = Head(
        weights,
        dict(zip(vocabulary, map(float, ridge.coef_[size:] * rarity * share), strict=True)),
        float(ridge.intercept_) * share,
    )
    return linear, _forest([example.quantities for example in measured], gaps, recipe)


def _rarity(grams: csr_matrix) -> Vector:
    """Inverse document frequencies, 1 on (quadratic) average."""
    counts = np.asarray((grams > 0).sum(axis=0)).ravel()
    rarity: Vector = np.log((1 + grams.shape[0]) / (1 + counts)) + 1
    return rarity / float(np.sqrt(np.mean(rarity**2)))


def _length_prior(
    scaling: Sequence[tuple[float, float]], measured: Sequence[Example], recipe: Recipe
) -> Vector:
    """The same rise for all: the feature counts apart in exams, in one of two places."""
    names = feature_names()
    places = [names.index(name) for name in ("length.log_characters", "exam.length.log_characters")]
    spread = pstdev([sum(example.values[place] for place in places) for example in measured])
    prior = np.zeros(len(scaling))
    for place in places:
        prior[place] = recipe.length_prior * scaling[place][1] / (spread or 1.0)
    return prior


def _forest(quantities: Sequence[Sequence[float]], gaps: Vector, recipe: Recipe) -> Forest:
    table = np.array(quantities)
    models = []
    for bag in range(recipe.bags):
        chosen = np.random.default_rng((_SEED, bag)).random(len(gaps)) < 0.7
        model = HistGradientBoostingRegressor(
            max_iter=recipe.rounds,
            learning_rate=0.1,
            max_leaf_nodes=12,
            min_samples_leaf=30,
            l2_regularization=1.0,
            max_features=0.3,
            early_stopping=False,
            random_state=bag,
        )
        models.append(model.fit(table[chosen], gaps[chosen]))
    spread = float(np.std(sum(model.predict(table) for model in models))) or 1.0
    predictors = [one for model in models for (one,) in model._predictors]
    return Forest(NAMES, [_tree(predictor.nodes, 1 / spread) for predictor in predictors])


def _tree(nodes: NDArray[np.void], factor: float) -> Tree:
    leaves = nodes["is_leaf"].astype(bool)
    return Tree(
        [LEAF if leaf else int(q) for q, leaf in zip(nodes["feature_idx"], leaves, strict=True)],
        [
            0.0 if leaf else _short(s)
            for s, leaf in zip(nodes["num_threshold"], leaves, strict=True)
        ],
        [int(node) for node in nodes["left"]],
        [int(node) for node in nodes["right"]],
        [_short(value * factor) for value in nodes["value"]],
    )


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def _mixed(
    checked: Sequence[Example], logits: Sequence[Logits], recipe: Recipe
) -> Mapping[Form, tuple[float, float, float]]:
    """By form, how much of each head: a chat has no exam head, pure exams no chat head."""
    shares: Mapping[Form, tuple[float, float]] = {
        "chat": (1.0, 0.0),
        "choice": (0.0, 1.0),
        "traced": (0.0, 1.0),
        "problem": (1.0, recipe.exam_share_in_problems),
    }
    forms: dict[Form, tuple[float, float, float]] = {}
    for form in FORMS:
        places = [place for place, example in enumerate(checked) if example.form == form]
        places = places or list(range(len(checked)))
        own = [checked[place] for place in places]
        forms[form] = _calibrated(own, [logits[place] for place in places], shares[form])
    return forms


def _calibrated(
    examples: Sequence[Example], logits: Sequence[Logits], shares: tuple[float, float]
) -> tuple[float, float, float]:
    """Weights of the heads and an intercept, by logistic regression of their sum (Platt 1999)."""
    mixed = np.array(logits) @ np.array(shares)
    model = _logistic(csr_matrix(mixed[:, np.newaxis]), examples, strength=100.0)
    slope = float(model.coef_[0][0])
    return slope * shares[0], slope * shares[1], float(model.intercept_[0])


def _logistic(
    matrix: csr_matrix, examples: Sequence[Example], strength: float
) -> LogisticRegression:
    """A soft label is two rows: one of either class, weighted by the label."""
    classes = [1] * len(examples) + [0] * len(examples)
    weights = [e.weight * e.label for e in examples] + [e.weight * (1 - e.label) for e in examples]
    model = LogisticRegression(C=strength, max_iter=400, tol=1e-4)
    return model.fit(vstack([matrix, matrix]).tocsr(), classes, sample_weight=weights)
