"""How sure the small model was: in the row of every answer, and in the answer where it is asked."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.fixture import RunningVendor

NAMES = ("mean_logprob", "min_logprob", "first_token_entropy", "first_token_margin")
ASKED = {"x-gateway-confidence": "true"}


@pytest.mark.parametrize("stream", [False, True])
def test_the_row_and_the_answer_say_the_same(
    gateway: RunningGateway, client: OpenAI, *, stream: bool
) -> None:
    raw = client.chat.completions.with_raw_response
    messages = [{"role": "user", "content": "Count from 1 to 20."}]
    reply = raw.create(
        model="smollm2",
        messages=messages,  # type: ignore[arg-type]
        max_tokens=6,
        temperature=0,
        stream=stream,
        extra_headers=ASKED,
    )
    parsed: Any = reply.parse()
    last = list(parsed)[-1] if stream else parsed
    told = last.model_dump()["confidence"]
    (row,) = gateway.ledger_rows(1, request_id=reply.headers["x-request-id"])
    assert {name: row[name] for name in NAMES} == told
    assert row["min_logprob"] <= row["mean_logprob"] < 0 < row["first_token_margin"] < 1


def test_text_completions_tell_it_too(client: OpenAI) -> None:
    completion = client.completions.create(
        model="smollm2", prompt="One, two,", max_tokens=4, extra_headers=ASKED
    )
    assert completion.model_dump()["confidence"].keys() == set(NAMES)


def test_what_an_upstream_said_has_none(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    reply = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], extra_headers=ASKED
    )
    (row,) = gateway.ledger_rows(1, request_id=reply.headers["x-request-id"])
    assert [row[name] for name in NAMES] == [None] * 4
    (received,) = vendor.received
    assert not any("gateway" in name.lower() for name in received.headers)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_the_other_apis_tell_it_too(gateway: RunningGateway, path: str, *, stream: bool) -> None:
    said = [{"role": "user", "content": "Count from 1 to 20."}]
    limits = (
        {"messages": said, "max_tokens": 16}
        if path == "/v1/messages"
        else {"input": said, "max_output_tokens": 16}
    )
    body = {"model": "smollm2", "stream": stream, "temperature": 0, **limits}
    key = {"Authorization": f"Bearer {CLIENT_KEY}"}
    asked = httpx.post(f"{gateway.url}{path}", json=body, headers=ASKED | key, timeout=60)
    silent = httpx.post(f"{gateway.url}{path}", json=body, headers=key, timeout=60)
    assert (asked.status_code, silent.status_code) == (200, 200)
    assert '"confidence":' not in silent.text
    if not stream:
        told = asked.json()["confidence"]
    else:
        events = [
            json.loads(line[6:]) for line in asked.text.splitlines() if line.startswith("data: ")
        ]
        last = events[-2] if path == "/v1/messages" else events[-1]["response"]
        told = last["confidence"]
    (row,) = gateway.ledger_rows(1, request_id=asked.headers["x-request-id"])
    assert {name: row[name] for name in NAMES} == told
