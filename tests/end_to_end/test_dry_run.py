"""The dry run says what the live path then does, over a thousand random requests."""

import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.routing.training.examples import read_prompts
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.fixture import RunningVendor

REQUESTS = 1_000
DEPLOYMENTS = (
    ("tiny", "small", ["vision", "n"]),
    ("gpt-4o", "large", ["tools", "json_schema", "n"]),
)


@pytest.fixture(scope="module")
def remote_gateway(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    config = {
        "deployments": [
            {
                "name": name,
                "tier": tier,
                "backend": "openai",
                "model": name,
                "base_url": vendor_server.base_url,
                "price": {"input": 1, "output": 2},
                "context_window": 4_000,
                "capabilities": capabilities,
            }
            for name, tier, capabilities in DEPLOYMENTS
        ],
        "routing": {"affinity": {"margin": 0.2}},
    }
    with running_gateway(tmp_path_factory.mktemp("dry"), config) as gateway:
        yield gateway


def random_request(chance: random.Random, prompts: list[list[dict[str, Any]]]) -> dict[str, Any]:
    messages = list(chance.choice(prompts))
    if chance.random() < 0.1:
        messages = [{"role": "system", "content": "Be brief."}, *messages]
    if chance.random() < 0.05:
        messages[-1] = {"role": "user", "content": messages[-1]["content"] * 200}
    model = chance.choice(
        ["auto", "auto", "auto:cheap", "auto:quality", "tiny", f"auto@{chance.random():.3f}"]
    )
    body: dict[str, Any] = {"model": model, "messages": messages}
    if chance.random() < 0.1:
        body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    if chance.random() < 0.1:
        body["n"] = 2
    return body


def test_a_thousand_random_requests_go_where_the_dry_run_says(
    remote_gateway: RunningGateway, vendor: RunningVendor
) -> None:
    chance = random.Random(42)
    prompts = [[dict(message) for message in one.messages] for one in read_prompts()]
    seen: dict[str, int] = {}
    with httpx.Client(base_url=remote_gateway.url, timeout=30) as http:
        for _ in range(REQUESTS):
            body = random_request(chance, prompts)
            sessions = {"x-gateway-session": f"s{chance.randrange(20)}"}
            headers = sessions if chance.random() < 0.3 else {}
            dry = http.post("/v1/route", json=body, headers=headers)
            live = http.post("/v1/chat/completions", json=body, headers=headers)
            assert dry.status_code == live.status_code
            if live.status_code != 200:
                assert dry.json()["error"]["code"] == live.json()["error"]["code"]
                seen["refused"] = seen.get("refused", 0) + 1
                continue
            said, shown = dry.json(), live.headers
            assert said["deployment"] == shown["x-gateway-model"]
            assert said["tier"] == shown["x-gateway-tier"]
            assert said["reason"] == shown["x-gateway-reason"]
            assert said["router"] == shown["x-gateway-router"]
            if said["score"] is not None:
                assert f"{said['score']:.4f}" == shown["x-gateway-score"]
                assert f"{said['threshold']:.4g}" == shown["x-gateway-threshold"]
            seen[said["reason"]] = seen.get(said["reason"], 0) + 1
    assert seen.keys() >= {"above_threshold", "below_threshold", "affinity", "pinned", "refused"}
    assert any(reason.startswith("needs_") for reason in seen)
