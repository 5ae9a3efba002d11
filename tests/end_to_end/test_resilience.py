"""What is promised when deployments fail, are slow or are full, and when clients leave."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

AUTHORIZED = {"authorization": f"Bearer {CLIENT_KEY}"}
CHAT = "/v1/chat/completions"


@contextmanager
def serving(
    folder: Path,
    vendor: RunningVendor,
    *,
    large: dict[str, dict[str, Any]],
    resilience: dict[str, Any] | None = None,
    **routing: Any,
) -> Iterator[RunningGateway]:
    """A gateway with remote deployments alone: `tiny` is small, the others are `large`."""
    usual = {"backend": "openai", "base_url": vendor.base_url, "retries": 0}
    usual |= {"price": {"input": 1, "output": 1}, "context_window": 100_000}
    deployments = [{**usual, "name": "tiny", "model": "tiny", "tier": "small"}]
    deployments += [
        {**usual, "name": name, "model": name, "tier": "large", **own}
        for name, own in large.items()
    ]
    config = {
        "deployments": deployments,
        "routing": {"policies": {"balanced": {"threshold": 0}}, **routing},
        "resilience": resilience or {},
    }
    with running_gateway(folder, config, env={"GATEWAY_API_KEYS": CLIENT_KEY}) as gateway:
        yield gateway


def body(model: str = "auto", *, stream: bool = False) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": stream}


def ask(gateway: RunningGateway, model: str = "auto", *, stream: bool = False) -> httpx.Response:
    return httpx.post(
        gateway.url + CHAT, json=body(model, stream=stream), headers=AUTHORIZED, timeout=30
    )


def asked(vendor: RunningVendor) -> Counter[str]:
    return Counter(one.body["model"] for one in vendor.received)


def rows(gateway: RunningGateway, response: httpx.Response, expected: int) -> list[tuple[Any, ...]]:
    found = gateway.ledger_rows(expected, request_id=response.headers["x-request-id"])
    return sorted((r["attempt"], r["deployment"], r["reason"], r["outcome"]) for r in found)


def test_the_upstreams_wish_to_wait_is_honoured(vendor: RunningVendor, tmp_path: Path) -> None:
    with serving(tmp_path, vendor, large={"a": {"retries": 1}}) as gateway:
        vendor.will(Behaviour(status=429, headers={"retry-after": "1"}))
        assert ask(gateway).status_code == 200
        first, second = vendor.received
        assert second.received_s - first.received_s > 0.99  # the timer may be a little early


def test_no_attempt_goes_on_beyond_the_deadline(vendor: RunningVendor, tmp_path: Path) -> None:
    settings = {"deadline_s": 0.8}
    with serving(tmp_path, vendor, large={"a": {}, "b": {}}, resilience=settings) as gateway:
        vendor.always(Behaviour(delay_s=10))
        began = time.monotonic()
        response = ask(gateway)
        assert time.monotonic() - began < 5
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "deadline_passed"
        assert rows(gateway, response, 1) == [(1, "a", "above_threshold", "timeout")]
        assert vendor.wait_for_early_close() < 5
        vendor.always(Behaviour(status=503, headers={"retry-after": "5"}))
        assert ask(gateway).status_code == 503  # a wait of 5 s would be too long


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        ("any_tier", ["a", "b", "tiny"]),
        ("same_tier", ["a", "b"]),
        ("none", ["a"]),
    ],
)
def test_who_answers_instead_is_the_policys_choice(
    vendor: RunningVendor, tmp_path: Path, fallback: str, expected: list[str]
) -> None:
    with serving(tmp_path, vendor, large={"a": {}, "b": {}}, fallback=fallback) as gateway:
        vendor.always(Behaviour(status=500))
        vendor.as_model("tiny", Behaviour())
        response = ask(gateway)
        assert [one.body["model"] for one in vendor.received] == expected
        assert response.status_code == (200 if "tiny" in expected else 500)
        assert len(rows(gateway, response, len(expected))) == len(expected)


def test_a_deployment_that_fails_rests_and_comes_back(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    breaker = {"breaker": {"failures": 2, "cooldown_s": 1.5, "longest_cooldown_s": 1.5}}
    with serving(tmp_path, vendor, large={"a": {}, "b": {}}, resilience=breaker) as gateway:
        vendor.as_model("a", Behaviour(status=500))
        for _ in range(2):
            response = ask(gateway)
            assert response.headers["x-gateway-model"] == "b"
            assert response.headers["x-gateway-reason"] == "fallback"
        assert asked(vendor) == {"a": 2, "b": 2}
        opened = time.monotonic()
        resting = ask(gateway)  # `b` is the choice now, not a fallback
        assert resting.headers["x-gateway-model"] == "b"
        assert resting.headers["x-gateway-reason"] == "above_threshold"
        pinned = ask(gateway, "a")
        if time.monotonic() - opened < 1.4:  # unless the machine stood still
            assert asked(vendor) == {"a": 2, "b": 3}
            assert pinned.status_code == 503
            assert pinned.json()["error"]["code"] == "deployment_resting"
            assert int(pinned.headers["retry-after"]) in {1, 2}
            assert rows(gateway, pinned, 0) == []
        vendor.as_model("a", Behaviour())
        deadline = time.monotonic() + 10
        while ask(gateway).headers["x-gateway-model"] != "a":
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_requests_are_shared_by_weight_and_a_dry_run_knows_the_next(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    large = {"a": {"weight": 3}, "b": {"weight": 1}}
    with serving(tmp_path, vendor, large=large, balance="weighted") as gateway:
        for _ in range(8):
            told = httpx.post(f"{gateway.url}/v1/route", json=body(), headers=AUTHORIZED).json()
            assert ask(gateway).headers["x-gateway-model"] == told["deployment"]
        assert asked(vendor) == {"a": 6, "b": 2}


async def test_the_least_busy_one_comes_first(vendor: RunningVendor, tmp_path: Path) -> None:
    with serving(tmp_path, vendor, large={"a": {}, "b": {}}, balance="least_busy") as gateway:
        vendor.always(Behaviour(delay_s=0.5))
        async with httpx.AsyncClient(headers=AUTHORIZED, timeout=30) as http:
            posts = (http.post(gateway.url + CHAT, json=body()) for _ in range(10))
            answers = await asyncio.gather(*posts)
        assert {one.status_code for one in answers} == {200}
        assert asked(vendor) == {"a": 5, "b": 5}


@pytest.mark.parametrize("stream", [False, True])
def test_what_takes_unusually_long_is_hedged(
    vendor: RunningVendor, tmp_path: Path, stream: bool
) -> None:
    hedging = {"hedging": {"enabled": True, "least_wait_s": 0.3, "most_share": 0.5}}
    with serving(tmp_path, vendor, large={"a": {}, "b": {}}, resilience=hedging) as gateway:
        for _ in range(25):
            assert ask(gateway).headers["x-gateway-model"] == "a"
        vendor.as_model("a", Behaviour(delay_s=20))
        began = time.monotonic()
        response = ask(gateway, stream=stream)
        assert time.monotonic() - began < 10
        assert response.headers["x-gateway-model"] == "b"
        assert response.headers["x-gateway-reason"] == "hedged"
        if stream:
            assert response.text.endswith("data: [DONE]\n\n")
        else:
            assert response.json()["choices"][0]["message"]["content"] == ANSWER
        assert rows(gateway, response, 2) == [
            (1, "a", "above_threshold", "cancelled"),
            (2, "b", "hedged", "ok"),
        ]
        slow = next(one for one in vendor.received[::-1] if one.body["model"] == "a")
        deadline = time.monotonic() + 3
        while slow.closed_early_after_s is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if not stream:
            found = gateway.ledger_rows(2, request_id=response.headers["x-request-id"])
            total = sum(float(row["cost_usd"]) for row in found)
            assert float(response.headers["x-gateway-cost-usd"]) == pytest.approx(total)


async def _all_at_once(gateway: RunningGateway, clients: int) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(headers=AUTHORIZED, timeout=90, limits=limits) as http:
        posts = [
            http.post(gateway.url + CHAT, json=body("a", stream=number % 2 == 0))
            for number in range(clients)
        ]
        return list(await asyncio.gather(*posts))


async def test_500_clients_at_once_lose_nothing(vendor: RunningVendor, tmp_path: Path) -> None:
    with serving(
        tmp_path, vendor, large={"a": {"max_concurrent": 50, "queue_timeout_s": 60}}
    ) as gateway:
        answers = await _all_at_once(gateway, 500)
        assert Counter(one.status_code for one in answers) == {200: 500}
        assert len(vendor.received) == 500
        assert all(one.text.endswith("[DONE]\n\n") for one in answers[::2])
        found = await _rows_over_http(gateway, 500)
        assert {row["request_id"] for row in found} == {
            one.headers["x-request-id"] for one in answers
        }
        assert {row["outcome"] for row in found} == {"ok"}


async def _rows_over_http(gateway: RunningGateway, expected: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10
    async with httpx.AsyncClient(headers=AUTHORIZED) as http:
        while True:
            response = await http.get(f"{gateway.url}/v1/costs", params={"limit": 1000})
            found: list[dict[str, Any]] = response.json()["data"]
            if len(found) >= expected or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.1)


async def test_more_than_may_wait_are_refused_at_once(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    full = {"max_concurrent": 5, "max_queue": 10}
    with serving(tmp_path, vendor, large={"a": full}) as gateway:
        vendor.always(Behaviour(delay_s=0.3))
        answers = await _all_at_once(gateway, 100)
        outcomes = Counter(one.status_code for one in answers)
        assert outcomes.keys() == {200, 503}
        assert outcomes[200] >= 15
        assert len(vendor.received) == outcomes[200]
        for refused in (one for one in answers if one.status_code == 503):
            assert refused.json()["error"]["code"] == "overloaded"
            assert refused.headers["retry-after"] == "1"
        assert len(gateway.ledger_rows(outcomes[200])) == outcomes[200]


async def test_a_full_deployment_leaves_the_request_to_the_next(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    large = {"a": {"max_concurrent": 1, "max_queue": 0}, "b": {}}
    with serving(tmp_path, vendor, large=large) as gateway:
        vendor.as_model("a", Behaviour(delay_s=1))
        async with httpx.AsyncClient(headers=AUTHORIZED, timeout=30) as http:
            posts = (http.post(gateway.url + CHAT, json=body()) for _ in range(5))
            answers = await asyncio.gather(*posts)
        assert {one.status_code for one in answers} == {200}
        assert asked(vendor) == {"a": 1, "b": 4}


async def _leave(gateway: RunningGateway, after_s: float, model: str = "a") -> None:
    async with httpx.AsyncClient(headers=AUTHORIZED, timeout=after_s) as http:
        with pytest.raises(httpx.TimeoutException):
            await http.post(gateway.url + CHAT, json=body(model))


async def test_clients_that_leave_while_they_wait_cost_nothing_more(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    large: dict[str, dict[str, Any]] = {
        "a": {"max_concurrent": 1},
        "b": {"retries": 3},
        "c": {},
    }
    with serving(tmp_path, vendor, large=large) as gateway:
        vendor.always(Behaviour(delay_s=1.5))
        holding = asyncio.create_task(asyncio.to_thread(ask, gateway, "a"))
        while not vendor.received:
            await asyncio.sleep(0.02)
        await _leave(gateway, 0.4)  # in the queue
        vendor.will(Behaviour(status=503, headers={"retry-after": "1"}))
        await _leave(gateway, 0.5, "b")  # while the gateway waits before it tries again
        assert (await holding).status_code == 200
        await asyncio.sleep(1.2)
        assert asked(vendor) == {"a": 1, "b": 1}
        found = gateway.ledger_rows(2)
        assert sorted((row["deployment"], row["outcome"]) for row in found) == [
            ("a", "ok"),
            ("b", "upstream_error"),
        ]


async def test_a_client_that_leaves_stops_the_small_model(gateway: RunningGateway) -> None:
    messages = [{"role": "user", "content": "Tell me a very long story about the sea."}]
    story = {"model": "smollm2", "messages": messages, "stream": True, "max_tokens": 500}
    began = time.monotonic()
    async with (
        httpx.AsyncClient(headers=AUTHORIZED, timeout=60) as http,
        http.stream("POST", gateway.url + CHAT, json=story) as response,
    ):
        request_id = response.headers["x-request-id"]
        events = 0
        async for line in response.aiter_lines():
            events += line.startswith("data: ")
            if events == 8:
                break
    left_ms = (time.monotonic() - began) * 1e3
    (row,) = await asyncio.to_thread(gateway.ledger_rows, 1, request_id=request_id)
    assert (row["outcome"], row["status"]) == ("cancelled", 499)
    assert 7 <= row["completion_tokens"] < 100
    assert row["latency_ms"] < left_ms + 1000
