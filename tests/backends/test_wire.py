from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.parse import parse_chat
from gateway.backends.wire import upstream_body, with_model
from gateway.core.errors import InvalidRequest
from gateway.core.request import ChatRequest

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
KEYS = st.sampled_from(["model", "mod\u0435l", "x", "stream_options", '"model"']) | st.text(
    max_size=5
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=10) | st.just("model"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
EXTRAS = st.dictionaries(st.text(min_size=1, max_size=8).map(lambda key: f"x_{key}"), VALUES)


def body_of(request: ChatRequest, model: str, **asked: Any) -> bytes:
    return upstream_body(request.raw, request.payload, model, **asked)


def request_bytes(extra: dict[str, Any], indent: bool = False) -> bytes:
    body = {
        **dict(list(extra.items())[::2]),
        "model": "auto",
        "messages": [{"role": "user", "content": 'the "model": "gpt" and \\u0041'}],
        **extra,
    }
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 if indent else None)


def test_what_is_too_deep_is_written_only_where_it_must_be() -> None:
    deep = b"[" * 300 + b"]" * 300
    raw = b'{"model": "auto", "x": %b, "messages": [{"role": "user", "content": "x"}]}' % deep
    assert body_of(parse_chat(raw), "m") == raw.replace(b"auto", b"m")
    with pytest.raises(InvalidRequest, match="nested"):
        body_of(parse_chat(raw.replace(b'"model"', b'"mod\\u0065l"')), "m")


@given(extra=EXTRAS, indent=st.booleans(), model=st.text(min_size=1, max_size=12))
def test_only_the_model_differs(extra: dict[str, Any], indent: bool, model: str) -> None:
    request = parse_chat(request_bytes(extra, indent))
    sent = orjson.loads(body_of(request, model))
    assert list(sent) == list(request.payload)
    assert sent == {**request.payload, "model": model}


@given(extra=EXTRAS, options=st.none() | st.dictionaries(KEYS, st.booleans(), max_size=2))
def test_usage_is_asked_and_the_clients_options_are_kept(
    extra: dict[str, Any], options: dict[str, bool] | None
) -> None:
    given_options = {} if options is None else {"stream_options": options}
    request = parse_chat(request_bytes({**extra, "stream": True, **given_options}))
    sent = orjson.loads(body_of(request, "m", ask_usage=True))
    assert sent.pop("stream_options") == {**(options or {}), "include_usage": True}
    expected = {**request.payload, "model": "m"}
    expected.pop("stream_options", None)
    assert sent == expected


@given(
    extra=EXTRAS, asked=st.dictionaries(st.just("logprobs"), st.none() | st.booleans(), max_size=1)
)
def test_logprobs_are_asked_for_once(extra: dict[str, Any], asked: dict[str, bool | None]) -> None:
    request = parse_chat(request_bytes({**extra, "stream": True, **asked}))
    raw = body_of(request, "m", ask_usage=True, ask_logprobs=True)
    assert raw.count(b'"logprobs"') == 1
    added = {"model": "m", "logprobs": True, "stream_options": {"include_usage": True}}
    assert orjson.loads(raw) == {**request.payload, **added}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"auto","messages":[{"role":"user","content":"x"}],"model":"gpt-4o"}',
        b'{"model":"auto","messages":[{"role":"user","content":"x"}],"mod\\u0065l":"gpt-4o"}',
        b'{"mod\\u0065l":"auto","messages":[{"role":"user","content":"model"}]}',
        b'{"tool":{"model":"inner"},"model":"auto","messages":[{"role":"user","content":"x"}]}',
        b'{"messages":[{"role":"user","content":"x"}],"x":"model","model"  :\n "au\\"to"}',
    ],
)
def test_no_spelling_smuggles_a_second_model(raw: bytes) -> None:
    sent = body_of(parse_chat(raw), "mine")
    pairs = dict(orjson.loads(sent))
    assert pairs["model"] == "mine"
    assert b"gpt-4o" not in sent


def test_bytes_are_kept_where_nothing_changed() -> None:
    raw = (
        b'{ "temperature": 1.50, "seed": 123456789012345678901234567890,\n'
        b'"model": "auto", "messages": [{"role":"user","content":"\xc3\xa9 \\/ \xe6\x9d\xb1"}] }'
    )
    sent = body_of(parse_chat(raw.replace(b"seed", b"x_id")), "gpt")
    assert sent == raw.replace(b"seed", b"x_id").replace(b"auto", b"gpt")


def test_a_limit_renamed_takes_the_place_of_a_null() -> None:
    request = parse_chat(request_bytes({"max_tokens": 5, "max_completion_tokens": None}))
    sent = orjson.loads(body_of(request, "m", max_tokens_field="max_completion_tokens"))
    assert sent["max_completion_tokens"] == 5
    assert "max_tokens" not in sent


@pytest.mark.parametrize(
    "rest",
    [
        b'"tools":[{"parameters":{"properties":{"model":{"type":"string"}},"required":["model"]}}]',
        b'"metadata":{"model":"of a car"},"x":[{"model":"T"}]',
        b'"metadata":{"mod\\u0065l":"of a car"}',
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_other_models_in_a_body_are_no_reason_to_write_it_anew(rest: bytes, first: bool) -> None:
    own, number = b'"model" : "auto"', b'"x_id": 123456789012345678901234567890, "y": 1.50'
    members = (own, rest, number) if first else (rest, number, own)
    raw = b'{ %b,"messages":[{"role":"user","content":"x"}]}' % b", ".join(members)
    assert with_model(raw, "gpt") == raw.replace(b'"auto"', b'"gpt"')


def test_a_body_with_very_many_models_is_written_anew() -> None:
    rest = [{"model": str(number)} for number in range(50)]
    raw = orjson.dumps({"x": rest, "model": "auto"})
    assert orjson.loads(with_model(raw, "gpt")) == {"x": rest, "model": "gpt"}


def test_the_token_limit_is_renamed_for_upstreams_that_know_one_name() -> None:
    request = parse_chat(request_bytes({"max_tokens": 5}))
    sent = orjson.loads(body_of(request, "m", max_tokens_field="max_completion_tokens"))
    assert sent["max_completion_tokens"] == 5
    assert "max_tokens" not in sent
    assert list(sent) == [
        "max_completion_tokens" if key == "max_tokens" else key for key in request.payload
    ]


#: Other places where the names stand, and numbers that writing JSON again would change.
DECOYS = (
    b'"tools": [{"model": "auto", "max_tokens": 5, "stream_options": null}], "x": 1E5,'
    b' "big": 123456789012345678901234567890, "text": "\\u00e9 \\"model\\": \\"auto\\""'
)


@pytest.mark.parametrize("options", [b"null", b"{}", b'{"include_usage": false}'])
def test_bytes_are_kept_where_names_stand_elsewhere_too(options: bytes) -> None:
    before = b'{%b, "model": "auto", "max_tokens": 5, ' % DECOYS
    after = b' "messages": [{"role": "user", "content": "model"}]}'
    raw = b'%b"stream": true, "stream_options": %b,%b' % (before, options, after)
    sent = body_of(parse_chat(raw), "gpt", ask_usage=True, max_tokens_field="max_completion_tokens")
    expected = (
        b'{%b, "model": "gpt", "max_completion_tokens": 5, ' % DECOYS
        + b'"stream": true, "stream_options": {"include_usage":true},'
        + after
    )
    assert sent == expected


def test_a_long_body_with_names_elsewhere_is_written_again() -> None:
    text = b"x" * 1024 * 1024
    raw = b'{"x": {"model": 1.0}, "model": "auto", "messages": [{"role": "user", "content": "%b"}]}'
    sent = body_of(parse_chat(raw % text), "gpt")
    assert orjson.loads(sent) == {**orjson.loads(raw % text), "model": "gpt"}


def test_a_body_too_deep_to_be_written_again_is_refused() -> None:
    deep = b"[" * 300 + b"]" * 300
    raw = b'{"x": {"model": 1}, "x_deep": %b, "model": "auto", "model": "auto", "messages": %b}' % (
        deep,
        b'[{"role": "user", "content": "x"}]',
    )
    with pytest.raises(InvalidRequest, match="too deeply"):
        body_of(parse_chat(raw), "m")
