"""What clients are told, and what the ledger keeps, when something is wrong."""

import asyncio
import time
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.end_to_end.conftest import CLIENT_KEY, VENDOR_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

HARD: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Prove Zorn's lemma."}]
CHAT = "/v1/chat/completions"
AUTHORIZED = {"authorization": f"Bearer {CLIENT_KEY}"}


def post(gateway: RunningGateway, content: bytes, **headers: str) -> httpx.Response:
    given = {**AUTHORIZED, "content-type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(gateway.url + CHAT, content=content, headers=given)


def error_of(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["x-request-id"].startswith("req_")
    body = response.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("content", "status", "param", "code"),
    [
        (b"{", 400, None, "invalid_json"),
        (b"[1]", 400, None, "invalid_json"),
        (b'{"model": "auto", "messages": []}', 400, "messages", "invalid_value"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', 400, "model", None),
        (
            b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "n": 0}',
            400,
            "n",
            "invalid_value",
        ),
        (
            b'{"model": "gpt-9", "messages": [{"role": "user", "content": "x"}]}',
            404,
            "model",
            "model_not_found",
        ),
        (
            b'{"model": "auto:fast", "messages": [{"role": "user", "content": "x"}]}',
            404,
            "model",
            "model_not_found",
        ),
        (
            b'{"model": "smollm2", "messages": [{"role": "user", "content": '
            b'[{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}]}',
            400,
            "messages",
            "unsupported_capability",
        ),
        (
            b'{"model": "smollm2", "messages": [{"role": "user", "content": "'
            + b"word " * 9000
            + b'"}]}',
            400,
            "messages",
            "context_length_exceeded",
        ),
    ],
)
def test_bad_requests(
    gateway: RunningGateway, content: bytes, status: int, param: str | None, code: str | None
) -> None:
    response = post(gateway, content)
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (status, param, code)


def test_a_body_over_the_limit(gateway: RunningGateway) -> None:
    response = post(gateway, b'{"x": "' + b"y" * (20 * 1024 * 1024) + b'"}')
    assert response.status_code == 413
    assert error_of(response)["code"] == "request_too_large"


def test_other_paths_methods_and_media_types(gateway: RunningGateway) -> None:
    with httpx.Client(base_url=gateway.url, headers=AUTHORIZED) as http:
        missing = http.get("/v1/nothing")
        wrong_method = http.get(CHAT)
        wrong_type = http.post(CHAT, content=b"a=b", headers={"content-type": "text/plain"})
    assert missing.status_code == 404
    assert error_of(missing)["code"] == "not_found"
    assert wrong_method.status_code == 405
    assert wrong_method.headers["allow"] == "POST"
    error_of(wrong_method)
    assert wrong_type.status_code == 415
    error_of(wrong_type)


@pytest.mark.parametrize("key", [None, "sk-wrong"])
def test_a_missing_or_wrong_key(gateway: RunningGateway, key: str | None) -> None:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    for path in ("/v1/models", "/v1/costs", "/v1/nothing"):
        response = httpx.get(gateway.url + path, headers=headers)
        assert response.status_code == 401
        assert error_of(response)["code"] == "invalid_api_key"
    assert httpx.get(f"{gateway.url}/healthz").status_code == 200


def test_a_status_that_no_standard_names_is_told(
    client: OpenAI, gateway: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(status=529, headers={"retry-after": "inf"}))
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=HARD)
    assert caught.value.status_code == 529
    assert "simulated 529" in caught.value.message


def test_an_upstream_failure_is_retried_then_falls_back(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(status=503))
    raw = client.chat.completions.with_raw_response.create(
        model="auto@0", messages=HARD, max_tokens=2
    )
    assert raw.headers["x-gateway-reason"] == "fallback"
    assert raw.headers["x-gateway-tier"] == "small"
    assert len(vendor.received) == 2
    rows = gateway.ledger_rows(3, request_id=raw.headers["x-request-id"])
    assert [(r["attempt"], r["deployment"], r["outcome"], r["status"]) for r in rows[::-1]] == [
        (1, "gpt-4o", "upstream_error", 503),
        (2, "gpt-4o", "upstream_error", 503),
        (3, "smollm2", "ok", 200),
    ]
    assert rows[-1]["cost_usd"] is None
    assert rows[-1]["cost_source"] == "unpriced"


def test_one_failure_is_mended_by_a_retry(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(status=500))
    answer = client.chat.completions.create(model="gpt-4o", messages=HARD)
    assert answer.choices[0].message.content
    assert len(vendor.received) == 2


def test_the_upstreams_own_refusal_is_passed_on(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(status=422))
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.chat.completions.create(model="auto@0", messages=HARD)
    assert (caught.value.type, caught.value.param, caught.value.code) == ("simulated", "p", "c")
    assert len(vendor.received) == 1


def test_exhausted_retries_tell_the_sdk_not_to_add_its_own(
    gateway: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(status=429, headers={"retry-after": "1"}))
    with (
        OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=2) as sdk,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        sdk.chat.completions.create(model="gpt-4o", messages=HARD)
    assert caught.value.response.headers["retry-after"] == "1"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(vendor.received) == 2


def test_a_refused_vendor_key_is_the_gateways_fault(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    leak = f'{{"error": {{"message": "Incorrect API key: {VENDOR_KEY}"}}}}'.encode()
    vendor.always(Behaviour(status=401, body=leak))
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=HARD)
    assert caught.value.status_code == 502
    assert VENDOR_KEY not in caught.value.response.text


def test_a_slow_upstream_times_out(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(delay_s=5))
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=HARD)
    assert caught.value.status_code == 504


@pytest.mark.parametrize(
    "behaviour", [Behaviour(drop_after=3), Behaviour(stall_after=3), Behaviour(error_after=3)]
)
def test_a_broken_stream_ends_in_one_error_event(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor, behaviour: Behaviour
) -> None:
    vendor.will(behaviour)
    response = post(
        gateway,
        b'{"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "x"}]}',
    )
    assert response.status_code == 200
    events = [event for event in response.text.split("\n\n") if event]
    assert events[-1].startswith('data: {"error":')
    assert sum('"error"' in event for event in events) == 1
    assert "[DONE]" not in response.text
    (row,) = gateway.ledger_rows(1, request_id=response.headers["x-request-id"])
    assert row["outcome"] == "interrupted"
    assert row["usage_source"] == "estimated"
    vendor.will(behaviour)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="gpt-4o", messages=HARD, stream=True))


async def test_a_client_that_leaves_stops_the_upstream(
    gateway: RunningGateway, async_client: AsyncOpenAI, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(chunks=300, chunk_delay_s=0.05))
    stream = await async_client.chat.completions.create(model="gpt-4o", messages=HARD, stream=True)
    request_id = stream.response.headers["x-request-id"]
    await anext(aiter(stream))
    await stream.close()
    assert await asyncio.to_thread(vendor.wait_for_early_close) < 1
    (row,) = await asyncio.to_thread(gateway.ledger_rows, 1, request_id=request_id)
    assert (row["outcome"], row["status"]) == ("cancelled", 499)
    assert row["prompt_tokens"] > 0


async def test_a_client_that_leaves_before_the_first_byte_stops_the_upstream(
    gateway: RunningGateway, async_client: AsyncOpenAI, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(delay_s=1.5))
    with pytest.raises(openai.APITimeoutError):
        await async_client.chat.completions.create(model="gpt-4o", messages=HARD, timeout=0.3)
    assert await asyncio.to_thread(vendor.wait_for_early_close) < 1.3
    assert len(vendor.received) == 1
    rows = await asyncio.to_thread(gateway.ledger_rows, 1, outcome="cancelled", stream=False)
    assert rows


async def test_health_is_quick_while_the_model_generates(
    gateway: RunningGateway, async_client: AsyncOpenAI
) -> None:
    generating = asyncio.create_task(
        async_client.chat.completions.create(
            model="smollm2",
            messages=[{"role": "user", "content": "Write a long story about a fox."}],
            max_tokens=300,
            n=8,
        )
    )
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        await asyncio.sleep(0.5)
        waits_ms = []
        for _ in range(20):
            started = time.perf_counter()
            assert (await http.get("/healthz")).status_code == 200
            waits_ms.append((time.perf_counter() - started) * 1e3)
            await asyncio.sleep(0.02)
        assert not generating.done()
    assert sorted(waits_ms)[10] < 100
    await generating


def test_neither_keys_nor_prompts_are_logged(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    secret_prompt = "the-quick-secret-phrase"
    client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": secret_prompt}]
    )
    vendor.will(Behaviour(status=500, body=VENDOR_KEY.encode()))
    client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": secret_prompt}]
    )
    time.sleep(0.3)
    written = gateway.log.read_text() + str(gateway.ledger_rows())
    assert '"event":"request"' in written
    for secret in (secret_prompt, CLIENT_KEY, VENDOR_KEY, "sk-wrong"):
        assert secret not in written
    headers = vendor.received[-1].headers
    assert CLIENT_KEY not in str(headers)
