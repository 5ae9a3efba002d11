"""Learns from live traffic: a correction of the router in use, fitted to rated answers.

The score is the probability that the small tier falls short, and each request shows one tier's
answer only. So the rated answers of the small tier count with 1 over the probability that it was
asked (inverse-propensity weighting), and stand for the requests that went elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, hstack, vstack
from sklearn.linear_model import LogisticRegression

from gateway.routing.classifier import Messages, Scorer
from gateway.routing.conversation import Conversation
from gateway.routing.features import feature_names, feature_values
from gateway.routing.ngrams import ngram_share, ngrams_of

#: A rare choice counts for at most so many: one answer must not decide.
MOST_WEIGHT = 20.0
#: An escalation says that the small tier was unsure, not that it was wrong.
ESCALATION_WEIGHT = 0.5
#: The correction's regularisation, as in training from scratch; the current score's own weight is
#: all but free.
_GRAM_STRENGTH = 6.0
_STRENGTH = 0.02
_SCORE_SCALE = 10.0
#: The forms of question whose weights can be corrected one by one.
_CORRECTED = ("chat", "problem")
HELDOUT_SHARE = 0.4


@dataclass(slots=True, frozen=True)
class Lesson:
    """One routed request of the ledger whose messages were kept.

    `feedback` (0..1) rates the answer of the tier that was taken with `propensity`. `session`
    names its conversation.
    """

    messages: Messages
    session: str
    is_large: bool
    propensity: float
    feedback: float | None
    escalated: bool = False

    @property
    def is_heldout(self) -> bool:
        """Whether it judges and doesn't teach; a conversation is wholly on one side."""
        digest = hashlib.sha256(self.session.encode()).digest()
        return digest[0] < HELDOUT_SHARE * 256

    @property
    def label(self) -> float | None:
        """The probability that the small tier falls short, as far as this request tells."""
        if self.escalated:
            return 1.0
        if self.is_large or self.feedback is None:
            return None
        return 1.0 - self.feedback

    @property
    def weight(self) -> float:
        """How many requests it stands for."""
        if self.escalated:
            return ESCALATION_WEIGHT
        return min(MOST_WEIGHT, 1 / self.propensity)


def corrected(artefact: Mapping[str, Any], lessons: Sequence[Lesson]) -> dict[str, Any]:
    """The artefact with a correction fitted to lessons: log-odds' = a log-odds + p w x + c.

    p is the part that the form of the question takes of the chat head, 1 for a chat.

    Raises ValueError where the lessons have labels of one kind only.
    """
    scorer = Scorer(artefact, "current")
    labelled = [(one, label) for one in lessons if (label := one.label) is not None]
    conversations = [Conversation(one.messages) for one, _ in labelled]
    kept = [place for place, c in enumerate(conversations) if c.form in _CORRECTED]
    if not kept:
        raise ValueError(
            f"of {len(lessons)} routed requests whose messages were kept, none tells how the small "
            "tier did: set ledger.keep_messages and collect feedback"
        )
    vocabulary = list(artefact["vocabulary"])
    matrix = _design(artefact, vocabulary, [conversations[place] for place in kept])
    # Every form mixes in its own part of the chat head, which takes up the correction.
    chat_part = artefact["forms"]["chat"][0]
    parts = [artefact["forms"][conversations[place].form][0] / chat_part for place in kept]
    matrix = diags(parts) @ matrix
    scores = np.array([scorer.score(labelled[place][0].messages) for place in kept])
    logits = np.log(scores / (1 - scores))[:, np.newaxis] * _SCORE_SCALE
    columns = hstack([csr_matrix(logits), matrix]).tocsr()
    labels = np.array([labelled[place][1] for place in kept])
    weights = np.array([labelled[place][0].weight for place in kept])
    model = LogisticRegression(C=_STRENGTH, max_iter=400, tol=1e-4)
    model.fit(
        vstack([columns, columns]).tocsr(),
        [1] * len(kept) + [0] * len(kept),
        sample_weight=np.concatenate([weights * labels, weights * (1 - labels)]),
    )
    slope = float(model.coef_[0][0]) * _SCORE_SCALE
    return _with(artefact, slope, model.coef_[0][1:], float(model.intercept_[0]))


def _design(
    artefact: Mapping[str, Any], vocabulary: Sequence[str], conversations: Sequence[Conversation]
) -> csr_matrix:
    """Features standardised as the artefact does it, and n-grams with their shares."""
    names = feature_names()
    scaling = [artefact["features"].get(name, (0.0, 1.0))[:2] for name in names]
    means, scales = np.array(scaling, dtype=np.float64).T
    values = np.array([feature_values(one) for one in conversations])
    places = {gram: place for place, gram in enumerate(vocabulary)}
    ends, columns, shares = [0], [], []
    for one in conversations:
        known = [places[gram] for gram in ngrams_of(one) if gram in places]
        columns += known
        shares += [_GRAM_STRENGTH * ngram_share(len(known))] * len(known)
        ends.append(len(columns))
    grams = csr_matrix((shares, columns, ends), shape=(len(conversations), len(vocabulary)))
    return hstack([csr_matrix((values - means) / scales), grams]).tocsr()


def _with(
    artefact: Mapping[str, Any],
    slope: float,
    weights: NDArray[np.float64],
    intercept: float,
) -> dict[str, Any]:
    """The correction folded into the chat head; other forms keep their weights."""
    names = feature_names()
    chat_slope = slope * artefact["forms"]["chat"][0]
    of_features = weights[: len(names)] / chat_slope
    of_grams = weights[len(names) :] * _GRAM_STRENGTH / chat_slope
    features = {
        name: [mean, scale, round(chat + float(more), 6), exam]
        for (name, (mean, scale, chat, exam)), more in zip(
            ((name, artefact["features"].get(name, (0.0, 1.0, 0.0, 0.0))) for name in names),
            of_features,
            strict=True,
        )
    }
    grams = {
        gram: [round(chat + float(more), 3), exam]
        for (gram, (chat, exam)), more in zip(artefact["vocabulary"].items(), of_grams, strict=True)
    }
    forms = {
        form: [round(slope * part, 6) for part in parts[:2]]
        + [round(slope * parts[2] + intercept, 6)]
        if form in _CORRECTED
        else parts
        for form, parts in artefact["forms"].items()
    }
    return {**artefact, "features": features, "vocabulary": grams, "forms": forms}
