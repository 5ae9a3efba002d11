"""Upstreams that want their key, their version or their limits in another form, as Azure does."""

from pathlib import Path

from openai import OpenAI

from tests.end_to_end.conftest import CLIENT_KEY, SECRETS, VENDOR_KEY
from tests.gateway_process import running_gateway
from tests.vendor.behaviour import ANSWER
from tests.vendor.fixture import RunningVendor


def test_an_upstream_is_asked_in_the_form_that_its_deployment_says(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    azure = {
        "name": "azure",
        "tier": "large",
        "backend": "openai",
        "model": "gpt-4o",
        "base_url": vendor.base_url,
        "api_key_env": "VENDOR_KEY",
        "api_key_header": "api-key",
        "query_parameters": {"api-version": "2024-10-21"},
        "extra_headers": {"x-team": "search"},
        "max_tokens_field": "max_completion_tokens",
        "stream_usage": False,
    }
    with (
        running_gateway(tmp_path, {"deployments": [azure]}, env=SECRETS) as gateway,
        OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0) as client,
    ):
        messages = [{"role": "user", "content": "Hello"}]
        chats = client.chat.completions
        answer = chats.create(model="auto", messages=messages, max_tokens=5)  # type: ignore[arg-type]
        assert answer.choices[0].message.content == ANSWER
        assert list(chats.create(model="auto", messages=messages, max_tokens=5, stream=True))  # type: ignore[arg-type]
        rows = gateway.ledger_rows(2)
    assert {row["stream"]: row["usage_source"] for row in rows} == {
        False: "reported",
        True: "estimated",
    }
    assert len(vendor.received) == 2
    for received in vendor.received:
        assert received.query == {"api-version": "2024-10-21"}
        assert received.headers["api-key"] == VENDOR_KEY
        assert "authorization" not in received.headers
        assert received.headers["x-team"] == "search"
        assert received.body["max_completion_tokens"] == 5
        assert not {"max_tokens", "stream_options"} & received.body.keys()
