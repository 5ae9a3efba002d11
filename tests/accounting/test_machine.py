"""A machine's time is split among calls, never billed twice."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.machine import Machine


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set by the test."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_calls_share_each_moment_that_they_are_both_there(clock: list[float]) -> None:
    shared = Machine()
    first = shared.begin()
    clock[0] += 4
    second = shared.begin()
    clock[0] += 2
    assert (shared.since(first), shared.since(second)) == (5, 1)
    shared.end()
    clock[0] += 3
    assert shared.since(second) == 4
    shared.end()
    clock[0] += 1000
    third = shared.begin()
    clock[0] += 1
    assert shared.since(third) == 1


@given(st.lists(st.tuples(st.sampled_from(["begin", "end"]), st.integers(0, 100)), max_size=60))
def test_the_parts_add_up_to_the_time_that_the_machine_worked(
    steps: list[tuple[str, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        now = [0.0]
        patched.setattr(time, "perf_counter", lambda: now[0])
        shared, marks, parts, worked = Machine(), list[float](), 0.0, 0.0
        for step, passed in steps:
            now[0] += passed
            worked += passed if marks else 0
            if step == "begin":
                marks.append(shared.begin())
            elif marks:
                parts += shared.since(marks.pop(0))
                shared.end()
        parts += sum(map(shared.since, marks))
        assert parts == pytest.approx(worked)
