"""Bodies of `/v1/completions`: what is read, what is refused, and what clients get."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from openai.types import Completion

from gateway.api.completions import CompletionsFormat
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.entry import LedgerEntry
from gateway.core.errors import InvalidRequest, StreamInterrupted
from gateway.core.price import Cost
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage

ENTRY = LedgerEntry(
    request_id="req_1",
    attempt=1,
    ts=datetime(2026, 3, 1, tzinfo=UTC),
    endpoint="/v1/completions",
    model_requested="auto",
    deployment="gpt",
    tier="large",
    reason="above_threshold",
    router_version="r",
    stream=False,
    usage=Usage(3, 4, source="estimated"),
    cost=Cost(Decimal("0.00000012345678"), "computed", "config:gpt"),
)
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
FORMAT = CompletionsFormat()


def parsed(prompt: object, **fields: Any) -> ChatRequest:
    return FORMAT.parse(orjson.dumps({"model": "m", "prompt": prompt, **fields}))


def refused(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        FORMAT.parse(body)
    return caught.value


def test_a_plain_request() -> None:
    request = parsed("Once upon", stream=True, stream_options={"include_usage": True}, user="u-1")
    assert (request.wire, request.endpoint) == ("completions", "/v1/completions")
    assert (request.model, request.stream, request.include_usage) == ("m", True, True)
    assert (request.max_tokens, request.native_only) == (16, None)
    assert request.messages == [{"role": "user", "content": "Once upon"}]
    assert orjson.loads(request.raw) == request.payload
    assert request.payload["user"] == "u-1"


@pytest.mark.parametrize(
    "prompt",
    [None, "", "x", ["x"], [""], ["x", "y"], [0], [1, 2], [[1], [2, 3]], [7] * 200_000],
    ids=lambda prompt: str(prompt)[:20],
)
def test_prompts(prompt: object) -> None:
    request = parsed(prompt, max_tokens=3)
    is_text = prompt in ("x", ["x"])
    assert request.native_only == (None if is_text else "prompt")
    assert request.native == orjson.dumps({"model": "m", "prompt": prompt, "max_tokens": 3})


@pytest.mark.parametrize(
    "prompt",
    [
        *([], 3, True, {}, {"text": "x"}, [None], [[]], [[1], []]),
        *(["a", 1], [1, "a"], [["a"]], [[1], "a"], [1.5], [True], [-1], [[1, None]]),
        ["x"] * 50_001,
        [[1]] * 50_001,
        [{}] * 300_000,
        [7] * 2_000_001,
    ],
    ids=lambda prompt: str(prompt)[:20],
)
def test_prompts_that_are_refused(prompt: object) -> None:
    assert refused(orjson.dumps({"model": "m", "prompt": prompt})).param == "prompt"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("model", None), ("model", ""), ("model", ["m"]), ("model", "a\x00b")),
        *(("max_tokens", -1), ("max_tokens", "5"), ("max_tokens", 1.5), ("max_tokens", True)),
        *(("temperature", 2.1), ("temperature", "hot"), ("top_p", -0.1), ("seed", 0.5)),
        *(("presence_penalty", -3), ("frequency_penalty", 3), ("n", 0), ("best_of", 0)),
        *(("logprobs", True), ("logprobs", -1), ("echo", "yes"), ("echo", 1), ("suffix", 1)),
        *(("stream", "yes"), ("stream_options", []), ("stop", 1), ("stop", [1])),
        ("response_format", "json"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    error = refused(orjson.dumps({"model": "m", "prompt": "x", field: value}))
    assert error.param is not None
    assert error.param.split("[")[0].split(".")[0] == field
    assert f"'{field}" in error.message


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"model": "m"}', b'{"prompt": "x"}'])
def test_a_body_that_is_none(body: bytes) -> None:
    assert refused(body).param in {None, "model", "prompt"}


@pytest.mark.parametrize("depth", [300, 1000])
@pytest.mark.parametrize("field", ["x", "tools"])
def test_a_body_that_is_too_deep_to_be_written_again(field: str, depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    error = refused(b'{"model": "m", "prompt": "x", "%b": %b}' % (field.encode(), deep))
    assert (error.param, error.code) == (None, "invalid_value")


def test_a_body_as_deep_as_can_be_written() -> None:
    deep = b"[" * 250 + b"]" * 250
    assert FORMAT.parse(b'{"model": "m", "prompt": "x", "x": %b}' % deep).payload["x"]


def test_the_default_limit_stands_behind_the_body_as_it_came() -> None:
    body = b' { "top_p": 0.10, "model": "m", "prompt": "\\u00e9 x" }\n '
    request = FORMAT.parse(body)
    assert (
        request.native == b' { "top_p": 0.10, "model": "m", "prompt": "\\u00e9 x" ,"max_tokens":16}'
    )
    assert orjson.loads(request.native) == {**orjson.loads(body), "max_tokens": 16}


def test_a_limit_is_kept_and_null_is_none() -> None:
    body = b'{"model": "m", "max_tokens": 5, "prompt": "x"}  '
    assert FORMAT.parse(body).native == body
    request = parsed("x", max_tokens=None)
    assert request.native is not None
    assert orjson.loads(request.native)["max_tokens"] == request.payload["max_tokens"] == 16


def test_a_request_for_no_tokens_is_not_one_for_the_default() -> None:
    request = parsed("x", max_tokens=0, echo=True, logprobs=1)
    assert (request.max_tokens, request.native_only) == (0, "echo")


def chat_answer(**fields: Any) -> Answer:
    message = {"role": "assistant", "content": "Paris", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    chat = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt"}
    payload = {**chat, "choices": [choice], **fields}
    return Answer(orjson.dumps(payload), payload)


def body_of(answer: Answer) -> bytes:
    return FORMAT.answer(parsed("x"), answer, ENTRY)


def test_an_answer_is_a_text_completion_with_its_cost() -> None:
    body = body_of(chat_answer(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 1}}))
    completion = Completion.model_validate_json(body, strict=True)
    assert (completion.id, completion.choices[0].text) == ("cmpl-1", "Paris")
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.model_extra is not None
    assert completion.usage.model_extra.keys() == {"cost", "cost_details"}
    assert b'"cost":0.00000012345678,' in body


def test_usage_that_nobody_reported_is_ours() -> None:
    usage = orjson.loads(body_of(chat_answer()))["usage"]
    assert {name: usage[name] for name in USAGE} == USAGE
    assert usage["cost_details"]["usage_source"] == "estimated"


def test_what_a_backend_completed_itself_is_kept_around_the_cost() -> None:
    raw = b'{"id":"cmpl-9", "choices":[ {"text":"\\u00e9", "p": 1.50}], "usage": {"x": 1e2}}'
    body = body_of(Answer(raw, orjson.loads(raw), wire="completions"))
    before, after = raw[: raw.index(b'"x"')], raw[raw.index(b'"x"') :]
    assert body.startswith(before + b'"cost":0.00000012345678,')
    assert body.endswith(after)


def chunk(content: str | None, reason: str | None = None, **fields: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    chat = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt"}
    return {**chat, "choices": [choice], **fields}


def framed(*payloads: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(payload) + b"\n\n" for payload in payloads)


def counted(payload: dict[str, Any]) -> Chunk:
    return Chunk(framed(payload), 1, Usage(3, 4), payload)


def sent(*items: Item, asks_usage: bool = True) -> list[Any]:
    """The events of a stream that ended well, parsed; the last one is its mark."""
    options = {"stream_options": {"include_usage": asks_usage}}
    events = FORMAT.stream(parsed("x", stream=True, **options), ENTRY)
    frames = b"".join([*(events.frames(item) for item in items), events.finish()])
    datas = [event.removeprefix(b"data: ") for event in frames.split(b"\n\n")[:-1]]
    assert datas.pop() == b"[DONE]"
    return [orjson.loads(data) for data in datas]


@pytest.mark.parametrize("asks_usage", [True, False])
def test_a_stream_is_text_completions(asks_usage: bool) -> None:
    usage = counted({**chunk(None), "choices": [], "usage": USAGE})
    pieces = Chunk(framed(chunk(""), chunk("Pa"), chunk("ris")), 3)
    events = sent(pieces, Chunk(framed(chunk(None, "stop"))), usage, asks_usage=asks_usage)
    assert len(events) == 4 + asks_usage
    assert {(event["id"], event["object"]) for event in events} == {("cmpl-1", "text_completion")}
    choices = [event["choices"][0] for event in events[:4]]
    assert [choice["text"] for choice in choices] == ["", "Pa", "ris", ""]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert not any(event.get("usage") for event in events[:4])
    if asks_usage:
        last = Completion.model_validate(events[-1], strict=True)
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.total_tokens == 7
        assert events[-1]["usage"]["cost"] == pytest.approx(0.00000012345678)


@pytest.mark.parametrize("asks_usage", [True, False])
def test_usage_beside_the_last_text(asks_usage: bool) -> None:
    events = sent(counted(chunk("Paris", "stop", usage=USAGE)), asks_usage=asks_usage)
    (event,) = events
    assert event["choices"][0]["text"] == "Paris"
    assert ("usage" in event) is asks_usage


def test_a_stream_that_nobody_counted_ends_with_an_estimate() -> None:
    events = sent(Chunk(framed(chunk("Paris", "stop"))))
    last = Completion.model_validate(events[-1], strict=True)
    assert (last.id, last.model, last.choices) == ("cmpl-req_1", "gpt", [])
    assert last.usage is not None
    assert last.usage.total_tokens == 7
    assert sent(Chunk(framed(chunk("Paris", "stop"))), asks_usage=False) == events[:-1]


def test_what_a_backend_streams_itself_passes_untouched() -> None:
    own = b'data: {"id": "cmpl-9", "choices": [{"text": "\\u00e9", "logprobs": {"p": 1.50}}]}\n\n'
    events = FORMAT.stream(parsed("x", stream=True), ENTRY)
    assert events.frames(Chunk(own, wire="completions")) == own


def test_an_answer_in_one_piece_is_one_event() -> None:
    (event,) = sent(chat_answer(usage=USAGE), asks_usage=False)
    completion = Completion.model_validate(event, strict=True)
    assert completion.choices[0].text == "Paris"
    assert event["usage"]["cost"] == pytest.approx(0.00000012345678)


def test_a_stream_that_breaks_ends_with_an_error() -> None:
    events = FORMAT.stream(parsed("x", stream=True), ENTRY)
    failed = events.fail(StreamInterrupted("It broke."))
    assert orjson.loads(failed.removeprefix(b"data: "))["error"]["message"] == "It broke."
    assert b"[DONE]" not in failed
