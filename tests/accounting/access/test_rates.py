"""Requests and tokens a minute: here, in a real Redis, and while that is away."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.accounting.access import rates
from gateway.accounting.access.rates import RateLimits
from gateway.core.access import Rates, VirtualKey
from tests.servers.redis import start_redis

KEY = VirtualKey("vk_1", "k", rpm=3, tpm=100)


@pytest.fixture(params=["here", "redis"])
def address(request: pytest.FixtureRequest) -> str | None:
    if request.param == "here":
        return None
    return f"unix://{request.getfixturevalue('redis_socket')}"


def told(found: Rates) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in found.headers}


async def test_requests_are_held_to_their_number(address: str | None, tmp_path: Path) -> None:
    limits = RateLimits(address, str(tmp_path))
    for left in ("2", "1", "0"):
        found = await limits.admit(KEY, 0)
        assert found.refusal is None
        assert told(found)["x-ratelimit-remaining-requests"] == left
    refused = (await limits.admit(KEY, 0)).refusal
    assert refused is not None
    assert refused.kind == "requests"
    assert 0 < refused.retry_after_s <= 60
    assert (await limits.admit(VirtualKey("vk_2", "other", rpm=3), 0)).refusal is None
    await limits.close()


async def test_tokens_are_counted_before_and_put_right_after(
    address: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_800_000_000.0
    monkeypatch.setattr(rates, "wall_clock_s", lambda: now_s)
    key = VirtualKey("vk_1", "k", tpm=100)
    limits = RateLimits(address, str(tmp_path))
    assert told(await limits.admit(key, 80))["x-ratelimit-remaining-tokens"] == "20"
    refused = (await limits.admit(key, 30)).refusal
    assert refused is not None
    assert refused.kind == "tokens"
    await limits.corrected(key, -60)
    assert told(await limits.admit(key, 30))["x-ratelimit-remaining-tokens"] == "50"
    now_s += 60 + 30  # half of the minute before is less than a minute ago
    assert told(await limits.admit(key, 0))["x-ratelimit-remaining-tokens"] == "75"
    too_large = (await limits.admit(key, 101)).refusal
    assert too_large is not None
    assert too_large.exhausted
    await limits.corrected(key, 100)
    assert (await limits.admit(key, 0)).refusal is not None
    own_work = await limits.admit(key, None)
    assert (own_work.refusal, told(own_work)) == (None, {}), "it takes no tokens"
    await limits.close()


async def test_gateways_share_a_redis(redis_socket: Path, tmp_path: Path) -> None:
    one, other = (RateLimits(f"unix://{redis_socket}", str(tmp_path)) for _ in range(2))
    refusals = [(await each.admit(KEY, 0)).refusal for each in (one, other, one, other)]
    assert [one is None for one in refusals] == [True, True, True, False]
    await one.close()
    await other.close()


@pytest.fixture
def redis_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        yield Path(folder)


async def test_without_redis_each_counts_for_itself_until_it_is_back(
    redis_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rates, "REDIS_RESTS_S", 0.0)
    limits = RateLimits(f"unix://{redis_home}/redis.sock")
    with caplog.at_level(logging.WARNING, "gateway.keys"):
        for _ in range(3):
            assert (await limits.admit(KEY, 0)).refusal is None
        assert (await limits.admit(KEY, 0)).refusal is not None
        assert len(caplog.messages) == 1
        server = start_redis(redis_home)
        try:
            assert (await limits.admit(KEY, 0)).refusal is None, "Redis has counted none yet"
            assert len(caplog.messages) == 2
        finally:
            await limits.close()
            server.terminate()
            server.wait(timeout=30)
