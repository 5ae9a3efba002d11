"""Who comes first: by the file's order, by weight, by load; never one that rests."""

from collections import Counter

import pytest

from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import UpstreamError
from gateway.resilience.balance import Balance, BalanceMode
from gateway.resilience.breaker import BreakerSettings
from gateway.resilience.health import Capacity, Health

A, B, C = (Deployment(name, Tier.LARGE, "openai", name) for name in "abc")
WEIGHTS = {"a": 5, "b": 1, "c": 1}


def balance(mode: BalanceMode, known: Health) -> Balance:
    health = known.configure(BreakerSettings(failures=1), dict.fromkeys("abc", Capacity()))
    return Balance(mode, WEIGHTS, health)


@pytest.fixture
def known() -> Health:
    return Health()


def break_down(known: Health, name: str) -> None:
    health = known.configure(BreakerSettings(failures=1), {name: Capacity()})[name]
    health.breaker.failed(0, UpstreamError("down", status=500))


def names(deployments: object) -> str:
    assert isinstance(deployments, list | tuple)
    return "".join(one.name for one in deployments)


def test_in_order_is_the_files_order_with_those_that_rest_last(known: Health) -> None:
    ordering = balance("in_order", known)
    assert names(ordering.order([A, B, C], advance=True)) == "abc"
    break_down(known, "a")
    assert names(ordering.order([A, B, C], advance=True)) == "bca"
    assert ordering.is_resting(A)
    assert not ordering.is_resting(B)


def test_by_weight_smoothly(known: Health) -> None:
    ordering = balance("weighted", known)
    turns = "".join(names(ordering.order([A, B, C], advance=True))[0] for _ in range(14))
    assert Counter(turns) == {"a": 10, "b": 2, "c": 2}
    assert turns[:7] == "aabacaa"  # as nginx's


def test_a_dry_run_tells_the_next_turn_and_takes_none(known: Health) -> None:
    ordering = balance("weighted", known)
    for _ in range(20):
        told = names(ordering.order([A, B, C], advance=False))
        assert told == names(ordering.order([A, B, C], advance=False))
        assert told == names(ordering.order([A, B, C], advance=True))


def test_one_that_rests_gets_no_turn(known: Health) -> None:
    ordering = balance("weighted", known)
    break_down(known, "a")
    turns = [names(ordering.order([A, B, C], advance=True)) for _ in range(4)]
    assert {turn[0] for turn in turns} == {"b", "c"}
    assert {turn[-1] for turn in turns} == {"a"}


def test_by_load_for_their_weight(known: Health) -> None:
    ordering = balance("least_busy", known)
    health = known.configure(BreakerSettings(), dict.fromkeys("abc", Capacity()))
    taken: Counter[str] = Counter()
    for _ in range(14):  # nobody finishes
        first = ordering.order([A, B, C], advance=True)[0]
        health[first.name].slots.take_now()
        taken[first.name] += 1
    assert taken == {"a": 10, "b": 2, "c": 2}
