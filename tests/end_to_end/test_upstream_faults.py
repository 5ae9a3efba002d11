"""Whatever the upstream does: the right answer or a clear error, and one row an attempt."""

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.behaviour import ANSWER, USAGE, Behaviour
from tests.vendor.fixture import RunningVendor

HEADERS = {"authorization": f"Bearer {CLIENT_KEY}", "content-type": "application/json"}


def ask(gateway: RunningGateway, *, stream: bool) -> httpx.Response:
    messages = [{"role": "user", "content": "Prove it."}]
    body = {"model": "gpt-4o", "messages": messages, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    url = f"{gateway.base_url}/chat/completions"
    return httpx.post(url, content=orjson.dumps(body), headers=HEADERS, timeout=30)


def rows_of(gateway: RunningGateway, response: httpx.Response, expected: int) -> list[Any]:
    return gateway.ledger_rows(expected, request_id=response.headers["x-request-id"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "status", "code", "outcome"),
    [
        (Behaviour(body=b"{broken"), 502, "upstream_unavailable", "upstream_error"),
        (Behaviour(body=b"[1]"), 502, "upstream_unavailable", "upstream_error"),
        (
            Behaviour(body=b"<html></html>", content_type="text/html"),
            502,
            "upstream_unavailable",
            "upstream_error",
        ),
        (Behaviour(body=b'{"error": {"message": "hidden"}}'), 502, "upstream_error", None),
        (Behaviour(body=b'{"error": {"message": "busy", "code": 429}}'), 429, "429", None),
        (
            Behaviour(status=302, headers={"location": "http://127.0.0.2/"}),
            502,
            "upstream_error",
            "upstream_error",
        ),
        (Behaviour(drop=True), 502, "upstream_unavailable", "upstream_error"),
        (Behaviour(delay_s=4), 504, "upstream_timeout", "timeout"),
        (
            Behaviour(body=b'{"x": "' + b"y" * 100_000_000 + b'"}'),
            502,
            "upstream_unavailable",
            "upstream_error",
        ),
    ],
    ids=lambda value: "-" if isinstance(value, Behaviour) else None,
)
def test_what_is_no_answer_is_a_clear_error(
    gateway: RunningGateway,
    vendor: RunningVendor,
    behaviour: Behaviour,
    status: int,
    code: str,
    outcome: str | None,
    stream: bool,
) -> None:
    vendor.always(behaviour)
    response = ask(gateway, stream=stream)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    rows = rows_of(gateway, response, len(vendor.received))
    assert len(rows) == len(vendor.received) > 0
    assert {row["outcome"] for row in rows} == {outcome or "upstream_error"}


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(byte_by_byte=True),
        Behaviour(line_end="\r\n", byte_by_byte=True, comments=True),
        Behaviour(line_end="\r\n"),
        Behaviour(comments=True),
        Behaviour(done_mark=False),
        Behaviour(usage=None),
        Behaviour(usage_in_every_chunk=True),
        Behaviour(usage_with_choices=True),
    ],
    ids=str,
)
def test_an_odd_stream_is_a_right_answer(
    gateway: RunningGateway, vendor: RunningVendor, behaviour: Behaviour
) -> None:
    vendor.always(behaviour)
    response = ask(gateway, stream=True)
    data = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    events = [orjson.loads(one) for one in data[:-1]]
    texts = [c["delta"].get("content", "") for event in events for c in event["choices"]]
    assert "".join(texts).strip() == ANSWER
    assert any(event.get("usage") for event in events)
    (row,) = rows_of(gateway, response, 1)
    assert row["outcome"] == "ok"
    if behaviour.usage is None:
        assert row["usage_source"] == "estimated"
        assert row["completion_tokens"] > 0
    else:
        assert row["usage_source"] == "reported"
        assert row["completion_tokens"] == USAGE["completion_tokens"]


def test_an_answer_of_100_mb_takes_bounded_memory(
    gateway: RunningGateway, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(body=b'{"x": "' + b"y" * 100_000_000 + b'"}'))
    before = _resident_mb(gateway)
    for _ in range(3):
        assert ask(gateway, stream=False).status_code == 502
    assert _resident_mb(gateway) - before < 80


def _resident_mb(gateway: RunningGateway) -> float:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
