"""Conversations stay on their model unless a switch pays."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from gateway.api.parse import parse_chat
from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment, Tier
from gateway.core.request import Caller, ChatRequest
from gateway.routing.affinity import Affinity, Sessions, session_of
from gateway.routing.capability import CapabilityFilter
from gateway.routing.classifier import load_scorer
from gateway.routing.policy import FixedThreshold, Policy
from gateway.routing.router import Router

SMALL = Deployment("slm", Tier.SMALL, "local", "slm")
LARGE = Deployment("gpt", Tier.LARGE, "openai", "gpt-4o")
SPARE = Deployment("claude", Tier.LARGE, "openai", "claude")
SCORER = load_scorer()


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def router(clock: Clock, *, lost: str | None = None, extra: str | None = None) -> Router:
    def amount(text: str | None) -> Decimal | None:
        return None if text is None else Decimal(text)

    return Router(
        deployments=(SMALL, LARGE, SPARE),
        policies={"balanced": Policy("balanced", FixedThreshold(0.5))},
        default_policy="balanced",
        scorer=SCORER,
        capability_filter=CapabilityFilter({}, 256),
        affinity=Affinity(
            sessions=Sessions(ttl_s=600, most=3, clock=clock),
            least_margin=0.05,
            lost_usd=lambda *_: amount(lost),
            extra_usd=lambda _: amount(extra),
        ),
    )


def continued(*, threshold: float) -> tuple[ChatRequest, Caller]:
    messages = [
        {"role": "user", "content": "What is the capital of Peru?"},
        {"role": "assistant", "content": "Lima."},
        {"role": "user", "content": "And of Chile?"},
    ]
    body = orjson.dumps({"model": "auto", "messages": messages})
    return parse_chat(body), Caller("r", threshold=threshold)


SCORE = SCORER.score(continued(threshold=0)[0].messages)


def decided(router: Router, threshold: float) -> RouteDecision:
    return router.decide(*continued(threshold=threshold))


def session() -> str:
    return session_of(continued(threshold=0)[0].messages, None)


def test_a_small_gain_keeps_the_conversation_and_says_so() -> None:
    one = router(Clock())
    one.answered(session(), None, "gpt")
    decision = decided(one, SCORE + 0.03)
    assert (decision.deployment, decision.reason) == (LARGE, "affinity")
    assert any(rule.startswith("affinity:kept gpt") for rule in decision.rules)


def test_a_clear_gain_moves_it() -> None:
    one = router(Clock())
    one.answered(session(), None, "gpt")
    decision = decided(one, SCORE + 0.06)
    assert (decision.deployment, decision.reason) == (SMALL, "below_threshold")
    assert any(rule.startswith("affinity:left gpt") for rule in decision.rules)


def test_a_dear_prompt_cache_asks_for_a_larger_gain() -> None:
    threshold = min(0.95, SCORE + 0.2)
    cheap, dear = router(Clock(), lost="0.1", extra="1"), router(Clock(), lost="1", extra="1")
    for one in (cheap, dear):
        one.answered(session(), None, "gpt")
    assert decided(cheap, threshold).deployment == SMALL
    assert decided(dear, threshold).deployment == LARGE


def test_within_a_tier_the_deployment_that_has_the_cache_is_preferred() -> None:
    one = router(Clock())
    assert decided(one, 0.0).deployment == LARGE
    one.answered(session(), None, "claude")
    decision = decided(one, 0.0)
    assert (decision.deployment, decision.reason) == (SPARE, "above_threshold")
    assert decision.runner_up == LARGE


def test_a_cache_that_has_expired_binds_nobody() -> None:
    clock = Clock()
    one = router(clock)
    one.answered(session(), None, "gpt")
    clock.now_s = 601
    assert decided(one, SCORE + 0.03).deployment == SMALL


def test_a_first_question_is_free_and_a_named_session_is_not() -> None:
    one = router(Clock())
    body = {"model": "auto", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}
    request = parse_chat(orjson.dumps(body))
    score = SCORER.score(request.messages)
    one.answered(session_of(request.messages, None), None, "gpt")
    one.answered("mine", None, "gpt")
    free = one.decide(request, Caller("r", threshold=score + 0.01))
    named = one.decide(request, Caller("r", threshold=score + 0.01, session="mine"))
    assert (free.deployment, named.deployment) == (SMALL, LARGE)
    assert named.session == "mine"
    theirs = Caller("r", key_id="other", threshold=score + 0.01, session="mine")
    assert one.decide(request, theirs).deployment == SMALL, "another key's session of that name"


def test_the_oldest_sessions_are_forgotten() -> None:
    sessions = Sessions(ttl_s=10, most=2, clock=Clock())
    for name in ("a", "b", "c"):
        sessions.answered(("key", name), "gpt")
    assert [sessions.last(("key", name)) for name in ("a", "b", "c")] == [None, "gpt", "gpt"]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"role": "assistant", "content": "an answer"}, True),
        ({"role": "user", "content": "another first question"}, False),
    ],
)
def test_a_conversation_is_known_by_its_opening(change: dict[str, Any], same: bool) -> None:
    opening = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    other = [*opening, change] if same else [opening[0], change]
    assert (session_of(opening, "k") == session_of(other, "k")) is same
    assert session_of(opening, "k") != session_of(opening, "another key")


def test_what_another_process_answered_counts_if_it_is_the_newest() -> None:
    now = 100.0
    sessions = Sessions(ttl_s=60, most=2, clock=lambda: now)
    sessions.learn(("k", "a"), "large", 61)
    assert sessions.last(("k", "a")) is None
    sessions.learn(("k", "a"), "large", 10)
    assert sessions.last(("k", "a")) == "large"
    sessions.learn(("k", "a"), "small", 20)
    assert sessions.last(("k", "a")) == "large"
    sessions.answered(("k", "a"), "small")
    sessions.learn(("k", "a"), "large", 1)
    assert sessions.last(("k", "a")) == "small"
    for name in ("b", "c"):
        sessions.learn(("k", name), "large", 0)
    assert sessions.last(("k", "a")) is None, "no more are kept than may be"
