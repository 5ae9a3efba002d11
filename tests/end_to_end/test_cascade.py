"""The cascade for the OpenAI SDK: the real small model begins, the simulated vendor is large."""

from typing import Any

import httpx
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway, run_cli
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

STORY: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me a story."}]


def asked(client: OpenAI, model: str, *, stream: bool) -> tuple[str, dict[str, str]]:
    """The text of an answer, and its headers."""
    raw = client.chat.completions.with_raw_response
    if not stream:
        plain = raw.create(model=model, messages=STORY, temperature=0, max_tokens=30)
        return plain.parse().choices[0].message.content or "", dict(plain.headers)
    streamed = raw.create(model=model, messages=STORY, temperature=0, max_tokens=30, stream=True)
    chunks = [chunk for chunk in streamed.parse() if chunk.choices]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    return text.strip(), dict(streamed.headers)


def legs(gateway: RunningGateway, headers: dict[str, str], expected: int) -> list[dict[str, Any]]:
    rows = gateway.ledger_rows(expected, request_id=headers["x-request-id"])
    assert len(rows) == expected
    return sorted(rows, key=lambda row: int(row["attempt"]))


@pytest.mark.parametrize("stream", [False, True])
def test_a_trusted_answer_is_the_small_models_own(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor, *, stream: bool
) -> None:
    unwatched, _ = asked(client, "auto@1", stream=stream)
    text, headers = asked(client, "auto:trusting", stream=stream)
    assert text == unwatched
    assert headers["x-gateway-tier"] == "small"
    assert headers["x-gateway-reason"] == "below_threshold"
    (row,) = legs(gateway, headers, 1)
    assert 0 < row["confidence"] < 1
    assert (row["outcome"], row["completion_tokens"]) == ("ok", 30)
    assert not vendor.received


@pytest.mark.parametrize("stream", [False, True])
def test_a_doubted_answer_is_the_large_models(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor, *, stream: bool
) -> None:
    text, headers = asked(client, "auto:doubting", stream=stream)
    assert text == ANSWER
    assert headers["x-gateway-tier"] == "large"
    assert headers["x-gateway-model"] == "gpt-4o"
    assert headers["x-gateway-reason"] == "escalated"
    small, large = legs(gateway, headers, 2)
    assert (small["outcome"], small["status"]) == ("cancelled", 200)
    assert (small["deployment"], small["reason"]) == ("smollm2", "below_threshold")
    assert (small["completion_tokens"], small["usage_source"]) == (4, "counted")
    assert float(small["cost_usd"]) > 0
    assert 0 < small["confidence"] < 1
    assert (large["outcome"], large["reason"], large["confidence"]) == ("ok", "escalated", None)
    assert {row["policy"] for row in (small, large)} == {"doubting"}
    assert len(vendor.received) == 1


def test_without_the_large_model_the_small_one_answers_after_all(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(status=400))
    text, headers = asked(client, "auto:doubting", stream=True)
    assert text == asked(client, "auto@1", stream=True)[0]
    assert (headers["x-gateway-tier"], headers["x-gateway-reason"]) == ("small", "fallback")
    assert [row["outcome"] for row in legs(gateway, headers, 3)] == [
        "cancelled",
        "upstream_error",
        "ok",
    ]


def test_the_dry_run_shows_the_cascade(gateway: RunningGateway) -> None:
    def routed(model: str) -> Any:
        body = {"model": model, "messages": STORY}
        headers = {"authorization": f"Bearer {CLIENT_KEY}"}
        return httpx.post(f"{gateway.base_url}/route", json=body, headers=headers).json()

    assert routed("auto:doubting")["cascade"] == {"hold_tokens": 4, "min_confidence": 1}
    assert routed("auto@1")["cascade"] is None


def test_the_commands_show_the_cascade(gateway: RunningGateway) -> None:
    env = {"VENDOR_KEY": "sk-x"}
    config = ("--config", gateway.config)
    explained = run_cli("route", "Tell me a story.", "--model", "auto:trusting", *config, env=env)
    assert "first 24 tokens is below 0" in " ".join(explained.split())
    assert "confidence ≥ 0" in run_cli("check", *config, env={**env, "COLUMNS": "200"})
