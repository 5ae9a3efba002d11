import math
import time

import pytest

from gateway.core.cascade import Cascade
from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import (
    BackendError,
    DeadlinePassed,
    DeploymentResting,
    EngineUnavailable,
    LowConfidence,
    Overloaded,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.core.usage import Usage
from gateway.resilience.attempts import LONGEST_WAIT_S, Attempt, AttemptPlan, CautiousPlan

LARGE = Deployment("gpt", Tier.LARGE, "openai", "gpt")
SPARE = Deployment("claude", Tier.LARGE, "openai", "claude")
SMALL = Deployment("slm", Tier.SMALL, "local", "slm")


def plan(retries: int, *fallbacks: Deployment) -> AttemptPlan:
    decision = RouteDecision(LARGE, "above_threshold", "v1", fallbacks=fallbacks)
    return AttemptPlan(decision, {"gpt": retries, "claude": retries}, time.perf_counter() + 60)


def names_until_end(attempts: AttemptPlan, error: BackendError) -> list[str]:
    names = [attempts.first().deployment.name]
    while (attempt := attempts.after(error)) is not None:
        names.append(attempt.deployment.name)
        assert attempt.number == len(names)
    return names


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError("overloaded", status=503),
        UpstreamError("slow down", status=429),
        UpstreamUnavailable("refused"),
        EngineUnavailable("full"),
    ],
)
def test_retryable_failures_are_retried_here_then_on_the_next(error: BackendError) -> None:
    assert names_until_end(plan(1, SPARE, SMALL), error) == [
        "gpt",
        "gpt",
        "claude",
        "claude",
        "slm",
    ]


@pytest.mark.parametrize("status", [400, 404 + 18, 413])
def test_a_refused_request_is_not_sent_anywhere_else(status: int) -> None:
    assert names_until_end(plan(2, SPARE), UpstreamError("bad request", status=status)) == ["gpt"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_misconfigured_deployment_is_left_at_once(status: int) -> None:
    error = UpstreamError("no such key or model", status=status)
    assert names_until_end(plan(2, SPARE), error) == ["gpt", "claude"]


def test_waits_grow_and_are_bounded() -> None:
    attempts = plan(10)
    error = UpstreamError("busy", status=500)
    waits = [attempt.wait_s for _ in range(10) if (attempt := attempts.after(error)) is not None]
    assert len(waits) == 10
    assert all(0 <= wait <= min(LONGEST_WAIT_S, 0.2 * 2**turn) for turn, wait in enumerate(waits))


def test_retry_after_is_honoured() -> None:
    attempt = plan(1).after(UpstreamError("busy", status=429, retry_after_s=3))
    assert attempt is not None
    assert attempt.wait_s >= 3


def test_a_retry_after_that_is_too_long_means_the_next_deployment() -> None:
    attempt = plan(1, SPARE).after(UpstreamError("busy", status=429, retry_after_s=120))
    assert attempt is not None
    assert (attempt.deployment.name, attempt.wait_s) == ("claude", 0.0)


CASCADE = Cascade(8, 0.6)
UNSURE = LowConfidence(0.4, Usage(10, 8))


def watched(*fallbacks: Deployment, retries: int = 0) -> AttemptPlan:
    """The plan of a small deployment that a cascade watches."""
    decision = RouteDecision(
        SMALL, "below_threshold", "v1", fallbacks=fallbacks, cascade=CASCADE, escalation=LARGE
    )
    return AttemptPlan(decision, {"gpt": retries, "slm": retries}, time.perf_counter() + 60)


def test_what_was_given_up_is_escalated() -> None:
    attempts = watched()
    assert attempts.first() == Attempt(1, SMALL, "below_threshold", cascade=CASCADE)
    assert attempts.after(UNSURE) == Attempt(2, LARGE, "escalated")


@pytest.mark.parametrize(
    "error", [UpstreamUnavailable("refused"), UpstreamError("too long there", status=400)]
)
def test_without_the_large_tier_the_small_one_answers_unwatched(error: BackendError) -> None:
    attempts = watched()
    attempts.after(UNSURE)
    assert attempts.after(error) == Attempt(3, SMALL, "fallback")
    assert attempts.after(UpstreamError("bad", status=400)) is None


def test_an_escalation_has_retries_and_the_other_large_deployments() -> None:
    attempts = watched(LARGE, SPARE, retries=1)
    error = UpstreamError("busy", status=503)
    steps = [attempts.after(step) for step in (UNSURE, error, error, error)]
    assert [(step.deployment.name, step.reason) for step in steps if step is not None] == [
        ("gpt", "escalated"),
        ("gpt", "escalated"),
        ("claude", "fallback"),
        ("slm", "fallback"),
    ]


def test_a_watched_deployment_that_fails_is_retried_watched_and_falls_back_unwatched() -> None:
    attempts = watched(LARGE, retries=1)
    error = EngineUnavailable("full")
    retry, fallback = attempts.after(error), attempts.after(error)
    assert retry is not None
    assert fallback is not None
    assert (retry.deployment, retry.reason, retry.cascade) == (SMALL, "below_threshold", CASCADE)
    assert (fallback.deployment, fallback.reason, fallback.cascade) == (LARGE, "fallback", None)


def test_an_upstream_that_was_too_late_is_not_asked_twice() -> None:
    assert names_until_end(plan(2, SPARE, SMALL), UpstreamTimeout("late")) == [
        "gpt",
        "claude",
        "slm",
    ]


@pytest.mark.parametrize("error", [DeploymentResting("it rests"), Overloaded("full")])
def test_a_deployment_that_was_not_called_is_left_and_its_number_is_free(
    error: BackendError,
) -> None:
    attempts = plan(2, SPARE)
    attempts.first()
    following = attempts.after(error, is_recorded=False)
    assert following is not None
    assert (following.number, following.deployment.name, following.reason) == (
        1,
        "claude",
        "fallback",
    )
    assert attempts.after(error, is_recorded=False) is None


def test_nothing_begins_after_the_deadline() -> None:
    decision = RouteDecision(LARGE, "above_threshold", "v1", fallbacks=(SPARE,))
    over = AttemptPlan(decision, {"gpt": 5}, time.perf_counter())
    over.first()
    assert over.after(UpstreamError("busy", status=503)) is None
    soon = AttemptPlan(decision, {"gpt": 5}, time.perf_counter() + 2)
    soon.first()
    asked_to_wait = UpstreamError("busy", status=503, retry_after_s=3)
    following = soon.after(asked_to_wait)  # that wait would be too long, the next needs none
    assert following is not None
    assert following.deployment is SPARE
    assert plan(5, SPARE).after(DeadlinePassed("over")) is None


def test_a_hedge_goes_to_the_next_deployment_of_the_tier_or_to_the_same_one() -> None:
    attempts = plan(0, SMALL, SPARE)
    hedge = attempts.hedge(attempts.first())
    assert (hedge.number, hedge.deployment, hedge.reason) == (2, SPARE, "hedged")
    alone = plan(0, SMALL)
    assert alone.hedge(alone.first()).deployment is LARGE
    following = attempts.after(UpstreamError("down", status=503))
    assert following is not None
    assert following.number == 3


def test_a_hedges_number_is_never_given_again() -> None:
    attempts = plan(0, SMALL, SPARE)
    assert attempts.hedge(attempts.first()).number == 2
    following = attempts.after(Overloaded("full", status=503), is_recorded=False)
    assert following is not None
    assert following.number == 3


def test_another_plan_for_the_request_goes_on_counting() -> None:
    unhedged, hedged = plan(0, SMALL, SPARE), plan(0, SMALL, SPARE)
    unhedged.first()
    hedged.hedge(hedged.first())
    assert (unhedged.free_number, hedged.free_number) == (1, 3)
    decision = RouteDecision(SMALL, "budget", "v1", fallbacks=())
    cheaper = AttemptPlan(decision, {}, math.inf, hedged.free_number)
    assert cheaper.first().number == 3


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (UpstreamUnreachable("down"), 3),
        (UpstreamUnavailable("it hung up"), 1),
        (UpstreamTimeout("slow"), 1),
        (UpstreamError("busy", status=503), 1),
        (UpstreamError("limited", status=429, retry_after_s=0.0), 1),
    ],
)
def test_what_may_cost_twice_is_tried_again_only_where_nothing_was_sent(
    error: BackendError, attempts: int
) -> None:
    decision = RouteDecision(LARGE, "passthrough", "v1", fallbacks=())
    cautious = CautiousPlan(decision, {"gpt": 2}, math.inf)
    assert names_until_end(cautious, error) == ["gpt"] * attempts
