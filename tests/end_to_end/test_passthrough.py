"""The endpoints that are passed on, by the OpenAI SDK; no model runs on this machine."""

import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import httpx
import pytest
from openai import APIError, BadRequestError, InternalServerError, NotFoundError, OpenAI

from tests.end_to_end.conftest import CLIENT_KEY, SECRETS, VENDOR_KEY
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor
from tests.vendor.other import IMAGE, SPEECH

#: 10 text and 40 image tokens in, 1056 image tokens out
IMAGE_USD = (50 * Decimal(5) + 1056 * Decimal(40)) / 1_000_000


def config_for(vendor: RunningVendor) -> dict[str, Any]:
    remote = {"backend": "openai", "base_url": vendor.base_url, "api_key_env": "VENDOR_KEY"}
    usual = {**remote, "retries": 1, "query_parameters": {"api-version": "1"}, "tier": "large"}
    return {
        "deployments": [
            {**remote, "name": "mini", "tier": "small", "model": "mini"},
            {**usual, "name": "gpt-4o", "model": "gpt-4o", "timeout_s": 5, "total_timeout_s": 20},
            {
                **usual,
                "name": "painter",
                "aliases": ["paint"],
                "model": "gpt-image-1",
                "price": {"input": 5, "output": 40},
            },
            {**remote, "name": "claude", "tier": "large", "backend": "anthropic", "model": "c"},
        ],
        "server": {"max_body_mb": 1},
    }


@pytest.fixture(scope="module")
def passing(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    folder = tmp_path_factory.mktemp("passthrough")
    with running_gateway(folder, config_for(vendor_server), env=SECRETS) as gateway:
        yield gateway
        log = gateway.log.read_text()
        assert "Traceback" not in log
        assert VENDOR_KEY not in log


@pytest.fixture
def sdk(passing: RunningGateway, vendor: RunningVendor) -> Iterator[OpenAI]:
    with OpenAI(base_url=passing.base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def rows_of(
    gateway: RunningGateway, headers: Mapping[str, str], expected: int = 1
) -> list[dict[str, Any]]:
    """A request's rows; the command line reads the same, half a second slower."""
    deadline = time.monotonic() + 10
    key = {"authorization": f"Bearer {CLIENT_KEY}"}
    while True:
        data = httpx.get(f"{gateway.base_url}/costs", headers=key).json()["data"]
        rows = [row for row in data if row["request_id"] == headers["x-request-id"]]
        if len(rows) >= expected or time.monotonic() > deadline:
            return rows
        time.sleep(0.05)


def row_of(gateway: RunningGateway, headers: Mapping[str, str]) -> dict[str, Any]:
    (row,) = rows_of(gateway, headers)
    return row


def test_moderations_pass_both_ways_untouched(
    passing: RunningGateway, sdk: OpenAI, vendor: RunningVendor
) -> None:
    raw = sdk.moderations.with_raw_response.create(
        input="kill", model="omni-moderation-latest", extra_body={"x": 1.50}
    )
    assert raw.parse().results[0].flagged
    assert '"π": [1.5, 1000.0]' in raw.text
    (received,) = vendor.received
    assert received.body == {"input": "kill", "model": "omni-moderation-latest", "x": 1.5}
    assert received.query == {"api-version": "1"}
    assert raw.headers["x-gateway-tier"] == "large"
    assert raw.headers["x-gateway-model"] == "gpt-4o"
    assert raw.headers["x-gateway-reason"] == "passthrough"
    assert raw.headers["x-gateway-cost-source"] == "unpriced"
    assert "x-gateway-cost-usd" not in raw.headers
    row = row_of(passing, raw.headers)
    assert row["endpoint"] == "/v1/moderations"
    assert row["model_requested"] == "omni-moderation-latest"
    assert row["model_served"] == "omni-moderation-latest-2024"
    assert (row["deployment"], row["tier"]) == ("gpt-4o", "large")
    assert (row["reason"], row["outcome"], row["status"]) == ("passthrough", "ok", 200)
    assert (row["cost_usd"], row["usage_source"], row["score"]) == (None, None, None)
    assert row["latency_ms"] > 0


def test_speech_is_streamed_as_bytes(passing: RunningGateway, sdk: OpenAI) -> None:
    with sdk.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="Hello."
    ) as response:
        assert response.headers["content-type"] == "audio/mpeg"
        pieces = list(response.iter_bytes(4096))
    assert b"".join(pieces) == SPEECH * 4
    assert row_of(passing, response.headers)["stream"] is False


def test_speech_events_report_usage(passing: RunningGateway, sdk: OpenAI) -> None:
    with sdk.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input="Hello.", stream_format="sse"
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        text = response.read().decode()
    assert text.count("data: ") == 2
    row = row_of(passing, response.headers)
    assert (row["prompt_tokens"], row["completion_tokens"], row["stream"]) == (4, 101, True)
    assert row["cost_usd"] is None


def test_transcriptions(passing: RunningGateway, sdk: OpenAI, vendor: RunningVendor) -> None:
    sound = ("a.mp3", SPEECH)
    raw = sdk.audio.transcriptions.with_raw_response.create(
        file=sound, model="gpt-4o-transcribe", language="de"
    )
    assert raw.parse().text == f"{len(SPEECH)} bytes, de"
    row = row_of(passing, raw.headers)
    assert (row["prompt_tokens"], row["audio_input_tokens"]) == (14, 10)
    assert row["model_requested"] == "gpt-4o-transcribe"
    assert SPEECH in vendor.received[0].raw
    text = sdk.audio.transcriptions.create(file=sound, model="whisper-1", response_format="text")
    assert str(text).strip() == f"{len(SPEECH)} bytes, any"
    stream = sdk.audio.transcriptions.create(file=sound, model="gpt-4o-transcribe", stream=True)
    assert [event.type for event in stream] == ["transcript.text.delta", "transcript.text.done"]
    with pytest.warns(DeprecationWarning):
        translated = sdk.audio.translations.create(file=sound, model="whisper-1")
    assert translated.text == f"{len(SPEECH)} bytes, any"


def test_images_are_priced_at_their_deployment(passing: RunningGateway, sdk: OpenAI) -> None:
    raw = sdk.images.with_raw_response.generate(model="paint", prompt="a cat", n=3)
    answer = raw.parse()
    assert answer.data is not None
    assert [one.b64_json for one in answer.data] == [IMAGE * 100_000] * 3
    assert raw.headers["x-gateway-cost-source"] == "computed"
    assert Decimal(raw.headers["x-gateway-cost-usd"]) == IMAGE_USD
    row = row_of(passing, raw.headers)
    assert (row["deployment"], row["model_requested"]) == ("painter", "paint")
    assert Decimal(row["cost_usd"]) == IMAGE_USD
    assert (row["prompt_tokens"], row["completion_tokens"]) == (50, 1056)
    assert row["price_id"] == "config:painter"


def test_only_the_name_of_a_deployment_is_changed_in_a_body(
    sdk: OpenAI, vendor: RunningVendor
) -> None:
    sdk.images.edit(model="paint", prompt="paint model it", image=[("a.png", SPEECH)])
    sdk.images.edit(model="gpt-4o-else", prompt="paint model it", image=[("a.png", SPEECH)])
    named, other = (one.raw for one in vendor.received)
    assert named.count(b"gpt-image-1") == 1
    assert other.count(b"gpt-4o-else") == 1
    boundaries = [one[: one.index(b"\r\n")] for one in (named, other)]
    same = named.replace(b"gpt-image-1", b"gpt-4o-else").replace(boundaries[0], boundaries[1])
    assert same == other
    body = b'{ "prompt":"\\u03c0 1e400", "n": 1.0,  "model" : "painter" }'
    headers = {"authorization": f"Bearer {CLIENT_KEY}", "content-type": "application/json"}
    response = httpx.post(f"{sdk.base_url}images/generations", headers=headers, content=body)
    assert response.status_code == 200
    assert vendor.received[-1].raw == body.replace(b'"painter"', b'"gpt-image-1"')


def test_image_streams(passing: RunningGateway, sdk: OpenAI) -> None:
    stream = sdk.images.generate(model="painter", prompt="a cat", stream=True, partial_images=1)
    events = [event.type for event in stream]
    assert events == ["image_generation.partial_image", "image_generation.completed"]
    row = row_of(passing, stream.response.headers)
    assert Decimal(row["cost_usd"]) == IMAGE_USD
    assert row["stream"] is True


def test_files_and_batches(passing: RunningGateway, sdk: OpenAI, vendor: RunningVendor) -> None:
    content = b'{"custom_id": "1"}\r\n\r\n\xff\x00'
    uploaded = sdk.files.create(file=("a.jsonl", content), purpose="batch")
    assert (uploaded.filename, uploaded.bytes) == ("a.jsonl", len(content))
    assert sdk.files.list(purpose="batch", order="asc").data == [uploaded]
    assert vendor.received[-1].query == {"purpose": "batch", "order": "asc", "api-version": "1"}
    assert sdk.files.list(purpose="evals").data == []
    assert sdk.files.retrieve(uploaded.id) == uploaded
    raw = sdk.files.with_raw_response.content(uploaded.id)
    assert raw.content == content
    assert raw.headers["content-disposition"] == 'attachment; filename="a.jsonl"'
    assert not {"set-cookie", "x-upstream-internal"} & {*raw.headers}
    assert row_of(passing, raw.headers)["endpoint"] == "/v1/files/{file_id}/content"
    batch = sdk.batches.create(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id=uploaded.id
    )
    fetched = sdk.batches.with_raw_response.retrieve(batch.id)
    assert fetched.parse().status == "completed"
    # What a batch has used is not what asking about it uses.
    assert row_of(passing, fetched.headers)["prompt_tokens"] is None
    assert sdk.batches.cancel(batch.id).status == "cancelling"
    assert sdk.batches.list(limit=2).data == []
    assert sdk.files.delete(uploaded.id).deleted
    with pytest.raises(NotFoundError, match="No such File object") as missing:
        sdk.files.retrieve(uploaded.id)
    assert missing.value.param == "id"
    row = row_of(passing, missing.value.response.headers)
    assert (row["outcome"], row["status"]) == ("upstream_error", 404)
    # A file that is missing says nothing of the model behind the same upstream.
    chat = sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
    assert chat.choices


def test_keys_and_headers_stay_where_they_belong(sdk: OpenAI, vendor: RunningVendor) -> None:
    sdk.with_options(default_headers={"cookie": "a=b", "x-team": "search"}).audio.speech.create(
        model="tts-1", voice="alloy", input="Hi", extra_headers={"accept": "audio/wav"}
    )
    sdk.files.list()
    speech, files = (one.headers for one in vendor.received)
    for headers in (speech, files):
        assert headers["authorization"] == f"Bearer {VENDOR_KEY}"
        assert headers.keys() <= {
            *("host", "accept", "accept-encoding", "authorization", "content-length"),
            *("content-type", "user-agent"),
        }
    assert speech["accept"] == "audio/wav"
    assert speech["content-type"] == "application/json"
    assert "content-type" not in files


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("auto", 400, "unsupported_capability"),
        ("auto:cheap", 400, "unsupported_capability"),
        ("claude", 400, "unsupported_capability"),
        (7, 400, None),
        ("x" * 300, 400, "invalid_value"),
    ],
)
def test_a_model_that_cannot_serve_is_named(
    sdk: OpenAI, vendor: RunningVendor, model: Any, status: int, code: str | None
) -> None:
    with pytest.raises(BadRequestError) as refused:
        sdk.images.generate(model=model, prompt="a cat")
    assert (refused.value.status_code, refused.value.code) == (status, code)
    assert refused.value.param == "model"
    assert not vendor.received


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status"),
    [
        ("POST", "/images/generations", {"content-type": "application/json"}, b"{", 400),
        ("POST", "/images/generations", {"content-type": "text/plain"}, b"{}", 415),
        ("POST", "/files", {"content-type": "application/json"}, b"{}", 415),
        ("POST", "/moderations", {"content-type": "application/json"}, b" " * 2**20 + b"{}", 413),
        ("GET", "/files/..%2Fmodels", {}, b"", 404),
        ("GET", "/files/%2e%2e", {}, b"", 400),
        ("GET", "/files/a%3Fb=c/content", {}, b"", 400),
        ("GET", "/files?" + "&".join(f"a{n}=1" for n in range(40)), {}, b"", 400),
        ("HEAD", "/files", {}, b"", 405),
        ("PUT", "/files", {}, b"", 405),
    ],
)
def test_what_cannot_be_passed_on_never_leaves(
    passing: RunningGateway,
    vendor: RunningVendor,
    method: str,
    path: str,
    headers: dict[str, str],
    content: bytes,
    status: int,
) -> None:
    key = {"authorization": f"Bearer {CLIENT_KEY}"}
    url = f"{passing.base_url}{path}"
    response = httpx.request(method, url, headers={**key, **headers}, content=content)
    assert response.status_code == status
    assert method == "HEAD" or response.json()["error"]["message"]
    assert not vendor.received
    assert httpx.request(method, url, headers=headers, content=content).status_code == 401


def test_query_parameters_of_the_deployment_win(
    passing: RunningGateway, vendor: RunningVendor
) -> None:
    key = {"authorization": f"Bearer {CLIENT_KEY}"}
    url = f"{passing.base_url}/files?api-version=9&after=a%26b%0d%0a&after="
    assert httpx.get(url, headers=key).status_code == 200
    assert vendor.received[0].query["api-version"] == "1"
    assert vendor.received[0].query["after"] == "a&b\r\n"


def test_errors_come_in_the_envelope(
    passing: RunningGateway, sdk: OpenAI, vendor: RunningVendor
) -> None:
    with pytest.raises(BadRequestError) as blocked:
        sdk.images.generate(model="painter", prompt="forbidden")
    assert (blocked.value.code, blocked.value.param) == ("moderation_blocked", "prompt")
    vendor.will(Behaviour(status=401))
    with pytest.raises(InternalServerError) as ours:
        sdk.moderations.create(input="x")
    assert ours.value.status_code == 502
    assert row_of(passing, ours.value.response.headers)["status"] == 401


def test_only_what_is_safe_is_tried_again(
    passing: RunningGateway, sdk: OpenAI, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(status=503))
    with pytest.raises(InternalServerError):
        sdk.images.generate(model="painter", prompt="a cat")
    assert len(vendor.received) == 1
    vendor.will(Behaviour(status=503))
    raw = sdk.files.with_raw_response.list()
    assert len(vendor.received) == 3
    rows = rows_of(passing, raw.headers, 2)
    assert sorted(row["status"] for row in rows) == [200, 503]
    vendor.always(Behaviour(status=503))
    with pytest.raises(InternalServerError) as exhausted:
        sdk.files.list()
    assert exhausted.value.response.headers["x-should-retry"] == "false"


def test_a_client_that_leaves_ends_the_download(
    passing: RunningGateway, sdk: OpenAI, vendor: RunningVendor
) -> None:
    with sdk.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="endless"
    ) as response:
        assert next(response.iter_bytes(4096))
    vendor.wait_for_early_close()
    row = row_of(passing, response.headers)
    assert (row["outcome"], row["status"], row["cost_usd"]) == ("cancelled", 499, None)


def test_an_answer_that_breaks_off_is_no_whole_one(
    passing: RunningGateway, vendor: RunningVendor
) -> None:
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    url = f"{passing.base_url}/audio/speech"
    body = {"model": "tts-1", "voice": "alloy", "input": "broken"}
    with httpx.stream("POST", url, json=body, headers=headers) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.TransportError):
            response.read()
    assert row_of(passing, response.headers)["outcome"] == "interrupted"
    stream = httpx.post(url, json={**body, "stream_format": "sse"}, headers=headers)
    assert '"code":"upstream_unavailable"' in stream.text.split("\n\n")[-2]


def test_without_a_deployment_for_it(vendor: RunningVendor, tmp_path: Any) -> None:
    config = config_for(vendor)
    config["deployments"] = [one for one in config["deployments"] if one["tier"] == "small"]
    with running_gateway(tmp_path, config, env=SECRETS, ready="/healthz") as gateway:
        client = OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0)
        with pytest.raises(APIError, match="large tier") as refused:
            client.files.list()
        assert refused.value.code == "unsupported_endpoint"
        assert client.moderations.create(input="x", model="mini").results
    assert len(vendor.received) == 1
