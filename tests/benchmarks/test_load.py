from __future__ import annotations

import pytest

from benchmarks.load import LoadResult, closed_loop, open_loop, percentile
from benchmarks.prompts import STREAMING, Requests
from benchmarks.upstream import CHUNKS, SLOW_S
from tests.benchmarks.conftest import Ask
from tests.gateway_process import free_port

#: A loop's timer may fire as much early as its clock is coarse.
CLOCK_MS = 2


async def _load(port: int, requests: Requests, *, streaming: bool = False) -> LoadResult:
    return await closed_loop(port, requests, connections=4, seconds=0.2, streaming=streaming)


async def test_a_closed_loop_counts_whole_answers(upstream_port: int, ask: Ask) -> None:
    result = await _load(upstream_port, ask())
    assert result.answers > 4
    assert not result.failures
    assert 0 < result.first_bytes_ms[0] <= result.latencies_ms[0]
    assert result.per_second == pytest.approx(result.answers / result.seconds)


async def test_a_closed_loop_counts_each_chunk_of_a_stream(upstream_port: int, ask: Ask) -> None:
    result = await _load(upstream_port, ask(**STREAMING), streaming=True)
    assert result.answers > 4
    assert result.chunks == CHUNKS * result.answers
    assert not result.failures


async def test_what_is_no_whole_answer_is_a_failure(upstream_port: int, ask: Ask) -> None:
    refused = await _load(upstream_port, ask(metadata={"upstream": "error"}))
    assert refused.answers == 0
    assert set(refused.failures) == {"status 500"}
    cut = await _load(upstream_port, ask(metadata={"upstream": "cut"}, **STREAMING), streaming=True)
    assert cut.answers == 0
    assert set(cut.failures) == {"connection lost"}
    not_streamed = await _load(upstream_port, ask(), streaming=True)
    assert set(not_streamed.failures) == {"incomplete"}


async def test_nobody_there_is_a_failure(ask: Ask) -> None:
    result = await _load(free_port(), ask())
    assert result.answers == 0
    assert set(result.failures) == {"no connection"}


async def test_an_open_loop_keeps_its_rate_and_counts_from_the_tick(
    upstream_port: int, ask: Ask
) -> None:
    slow = ask(metadata={"upstream": "slow"})
    result = await open_loop(upstream_port, slow, per_second=50, seconds=0.4, connections=1)
    assert result.answers == 20
    assert not result.failures
    assert min(result.latencies_ms) >= SLOW_S * 1e3 - CLOCK_MS
    assert result.seconds < 20 * SLOW_S / 2  # not one after the other


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(values, 0.5) == 3.0
    assert percentile(values, 0.99) == 5.0
    assert percentile([], 0.5) == 0.0


def test_no_two_requests_are_equal(ask: Ask) -> None:
    requests = ask()
    sent = [next(requests) for _ in range(1200)]
    assert len(set(sent)) == 1200
    sizes = {len(one.partition(b"\r\n\r\n")[2]) for one in sent}
    assert 880 < min(sizes) <= max(sizes) < 1150
