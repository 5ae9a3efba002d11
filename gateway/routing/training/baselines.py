"""Other ways to score difficulty, to be measured beside ours."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from gateway.routing.conversation import Conversation
from gateway.routing.training.examples import Messages, Outcome

Score = Callable[[Messages], float]


def baselines(learnt: Sequence[Outcome]) -> Mapping[str, Score]:
    """By name: random, length, TF-IDF with logistic regression, and LiteLLM's rules if installed.

    `learnt` are the outcomes that TF-IDF may learn from.
    """
    chance = random.Random(0)  # noqa: S311 (a control, not a secret)
    found: dict[str, Score] = {
        "random": lambda _: chance.random(),
        "length": lambda messages: float(len(_question(messages))),
    }
    if len({one.large_score > one.small_score for one in learnt}) == 2:
        found["TF-IDF"] = _tfidf(learnt)
    rules = _litellm_rules()
    if rules is not None:
        found["LiteLLM rules"] = rules
    return found


def _question(messages: Messages) -> str:
    return Conversation(messages).question


def _tfidf(learnt: Sequence[Outcome]) -> Score:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
    matrix = vectorizer.fit_transform([_question(one.messages) for one in learnt])
    labels = [one.large_score > one.small_score for one in learnt]
    model = LogisticRegression(C=1.0, max_iter=300).fit(matrix, labels)

    def score(messages: Messages) -> float:
        row = vectorizer.transform([_question(messages)])
        return float(model.decision_function(row)[0])

    return score


def _litellm_rules() -> Score | None:
    """The score of LiteLLM's complexity router, by the package that its users have."""
    try:
        from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter
    except ImportError:
        return None
    router = ComplexityRouter(model_name="auto", litellm_router_instance=None)

    def score(messages: Messages) -> float:
        system = Conversation(messages).system or None
        return float(router.classify(_question(messages), system)[1])

    return score
