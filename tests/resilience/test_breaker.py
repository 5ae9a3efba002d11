"""The breaker: closed, open, half-open, on a clock of the test's own."""

import pytest

from gateway.core.errors import (
    BackendError,
    EngineUnavailable,
    Overloaded,
    StreamInterrupted,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.resilience.breaker import PROBE_S, Breaker, BreakerSettings

SETTINGS = BreakerSettings(failures=3, cooldown_s=10, longest_cooldown_s=40)
DOWN = UpstreamError("down", status=503)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(SETTINGS, clock)


def fail(breaker: Breaker, *errors: BackendError) -> None:
    for error in errors:
        breaker.failed(breaker.begin(), error)


@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        UpstreamError("slow down", status=429),
        UpstreamTimeout("late"),
        UpstreamUnavailable("gone"),
        StreamInterrupted("cut"),
    ],
)
def test_failures_in_a_row_open_it(breaker: Breaker, error: BackendError) -> None:
    fail(breaker, error, error)
    assert breaker.refused_for_s() is None
    fail(breaker, error)
    assert breaker.state == "open"
    assert 10 <= (breaker.refused_for_s() or 0) <= 12
    assert breaker.reason == error.message


def test_an_answer_between_them_does_not_count_them_together(breaker: Breaker) -> None:
    fail(breaker, DOWN, DOWN)
    breaker.succeeded(breaker.begin())
    fail(breaker, DOWN, DOWN)
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    "error",
    [UpstreamError("bad", status=400), Overloaded("full"), EngineUnavailable("it is loading")],
)
def test_what_is_no_fault_of_the_deployment_does_not_count(
    breaker: Breaker, error: BackendError
) -> None:
    fail(breaker, *[error] * 10)
    assert breaker.state == "closed"


@pytest.mark.parametrize("status", [302, 401, 403, 404])
def test_a_wrong_configuration_opens_it_at_once(breaker: Breaker, status: int) -> None:
    fail(breaker, UpstreamError("refused", status=status))
    assert breaker.state == "open"


def test_an_upstream_that_asks_for_more_time_gets_it(breaker: Breaker) -> None:
    fail(breaker, UpstreamError("slow down", status=429, retry_after_s=30))
    assert 29 <= (breaker.refused_for_s() or 0) <= 30


def test_an_upstream_cannot_ask_for_more_than_the_longest_cooldown(breaker: Breaker) -> None:
    fail(breaker, UpstreamError("slow down", status=429, retry_after_s=86_400))
    assert (breaker.refused_for_s() or 0) <= 40


def test_one_probe_goes_through_after_the_cooldown_and_closes_it(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, DOWN, DOWN, DOWN)
    clock.now += 12
    assert breaker.state == "half_open"
    assert breaker.refused_for_s() is None
    probe = breaker.begin()
    assert breaker.refused_for_s() is not None  # there is one already
    breaker.succeeded(probe)
    assert breaker.refused_for_s() is None
    breaker.begin()
    assert breaker.refused_for_s() is None


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_a_limit(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, DOWN, DOWN, DOWN)
    waits = []
    for _ in range(4):
        waits.append(breaker.refused_for_s() or 0)
        clock.now += waits[-1] + 0.001
        fail(breaker, DOWN)
    for wait, expected in zip(waits, (10, 20, 40, 40), strict=True):
        assert expected <= wait <= expected * 1.2


def test_a_probe_without_a_verdict_lets_another_one_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, DOWN, DOWN, DOWN)
    clock.now += 12
    breaker.gave_up(breaker.begin())
    assert breaker.refused_for_s() is None
    breaker.begin()
    clock.now += PROBE_S + 1  # it never came back
    assert breaker.refused_for_s() is None


def test_calls_that_were_in_flight_when_it_opened_change_nothing(
    breaker: Breaker, clock: Clock
) -> None:
    burst = [breaker.begin() for _ in range(50)]
    for era in burst[:40]:
        breaker.failed(era, DOWN)
    assert 10 <= (breaker.refused_for_s() or 0) <= 12
    breaker.succeeded(burst[40])
    assert breaker.refused_for_s() is not None
    clock.now += 12.1
    probe = breaker.begin()
    breaker.gave_up(burst[41])
    breaker.failed(burst[42], DOWN)
    assert breaker.refused_for_s() is not None  # the probe is still the only one
    breaker.succeeded(probe)
    breaker.failed(burst[43], DOWN)
    assert breaker.state == "closed"


def test_it_tells_what_this_process_finds_out_and_nothing_that_it_learns(clock: Clock) -> None:
    told: list[str] = []
    breaker = Breaker(SETTINGS, clock, told.append)
    fail(breaker, DOWN, DOWN, DOWN)
    clock.now += 12
    breaker.succeeded(breaker.begin())
    assert told == ["opened", "tried", "closed"]
    breaker.learn_open(5, 1, "elsewhere")
    breaker.learn_tried(5)
    breaker.learn_closed()
    assert told == ["opened", "tried", "closed"]


def test_what_it_learns_holds_as_if_it_had_seen_it(breaker: Breaker, clock: Clock) -> None:
    begun = breaker.begin()
    breaker.learn_open(5, 2, "elsewhere")
    assert (breaker.state, breaker.reason) == ("open", "elsewhere")
    breaker.succeeded(begun)
    assert breaker.state == "open", "a call from before says nothing new"
    clock.now += 5
    assert breaker.refused_for_s() is None
    breaker.learn_tried(3)
    assert breaker.refused_for_s() == 3
    clock.now += 3
    fail(breaker, DOWN)
    assert 40 <= (breaker.refused_for_s() or 0) <= 48, "it was opened twice already"
    breaker.learn_open(1, 1, "elsewhere")
    assert (breaker.refused_for_s() or 0) >= 40
    breaker.learn_closed()
    assert breaker.refused_for_s() is None
