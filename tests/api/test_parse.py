import time
from typing import Any

import orjson
import pytest

from gateway.api.exchange import Exchange
from gateway.api.parse import caller_of, parse_chat
from gateway.core.errors import InvalidRequest

HELLO = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}


def body(**fields: Any) -> bytes:
    return orjson.dumps({**HELLO, **fields})


def refusal(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse_chat(raw)
    return caught.value


def test_a_plain_request() -> None:
    request = parse_chat(body())
    assert (request.model, request.stream, request.include_usage) == ("auto", False, False)
    assert request.messages == HELLO["messages"]
    assert request.raw == body()


def test_unknown_fields_and_values_are_kept() -> None:
    raw = body(
        reasoning_effort="enormous",
        x={"deep": [1, 2.50, None]},
        messages=[{"role": "oracle", "content": [{"type": "hologram", "hologram": {}}], "y": 1}],
    )
    request = parse_chat(raw)
    assert request.payload == orjson.loads(raw)
    assert request.messages[0]["y"] == 1


def test_streaming_and_usage() -> None:
    request = parse_chat(body(stream=True, stream_options={"include_usage": True}))
    assert request.stream
    assert request.include_usage


def test_max_completion_tokens_is_preferred() -> None:
    assert parse_chat(body(max_tokens=5)).max_tokens == 5
    assert parse_chat(body(max_tokens=5, max_completion_tokens=7)).max_tokens == 7


def test_null_is_the_same_as_absent() -> None:
    request = parse_chat(body(stream=None, temperature=None, max_tokens=None, stop=None))
    assert not request.stream


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"stop": 3}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"tools": {}}, "tools"),
        ({"response_format": "json"}, "response_format"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"content": "no role"}]}, "messages[0].role"),
        ({"messages": [{"role": 3, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"model": ""}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"model": "gpt\x00"}, "model"),
        ({"n": 1e30}, "n"),
        ({"max_tokens": 1e30}, "max_tokens"),
        ({"temperature": 1e300}, "temperature"),
        ({"stop": ["a"] * 100_000 + [1]}, "stop"),
        ({"messages": [{}] * 100_000}, "messages[0].role"),
        ({"messages": [{"role": "user"}] * 50_001}, "messages"),
        ({"messages": [{"role": "user", "content": [1] * 100_000}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"] * 25_001}] * 2}, "messages"),
        ({"model": 3}, "model"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], param: str) -> None:
    error = refusal(body(**fields))
    assert error.param == param
    assert param.partition("[")[0] in error.message
    assert error.message.endswith(".")


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_field_is_named(missing: str) -> None:
    fields = {key: value for key, value in HELLO.items() if key != missing}
    error = refusal(orjson.dumps(fields))
    assert error.message == f"The parameter '{missing}' is missing."


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"model": NaN}',
        b'{"temperature": 1e999}',
        b'{"x": Infinity}',
        b'{"x": -Infinity}',
        b'{"x": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"x": "\x00"}',
        b'{"x": "\xc3("}',
        b'{"x": "\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"model": "auto"}',
        '{"model": "auto"}'.encode("utf-16"),
        b'{"model": "auto"} {"model": "auto"}',
        b"{'model': 'auto'}",
        b'{"x": 01}',
        b'{"x": 1,}',
        b" " * 100_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_not_a_json_object_is_refused(raw: bytes) -> None:
    assert refusal(raw).code == "invalid_json"


def test_faults_by_the_million_take_no_longer_than_one() -> None:
    started_s = time.thread_time()
    refusal(b'{"model": "auto", "messages": [%s]}' % b",".join([b"{}"] * 500_000))
    many = b",".join([b"1"] * 500_000)
    refusal(b'{"model":"auto","messages":[{"role":"user","content":[%s]}]}' % many)
    assert time.thread_time() - started_s < 2  # it was 13 s


def test_many_messages_and_nul_and_the_last_of_two_keys() -> None:
    messages = [{"role": "user", "content": "a\0b"}] * 10_000
    assert parse_chat(body(messages=messages)).messages[-1]["content"] == "a\0b"
    twice = parse_chat(b'{"model": "first", ' + body(model="last")[1:])
    assert twice.model == "last"


def test_a_message_is_never_echoed() -> None:
    error = refusal(body(messages=[{"role": "user", "content": {"secret": "hunter2"}}]))
    assert "hunter2" not in error.message


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "headers": list(headers)}


def test_the_callers_headers() -> None:
    caller = caller_of(
        scope(
            (b"x-gateway-threshold", b"0.25"),
            (b"x-gateway-policy", b"cheap"),
            (b"x-gateway-tags", b"team=search, env=prod"),
            (b"x-gateway-session", b"s-1"),
            (b"x-client-request-id", b"mine\x07"),
            (b"x-gateway-confidence", b"True"),
        ),
        Exchange(key_id="abc"),
    )
    assert (caller.threshold, caller.policy, caller.session) == (0.25, "cheap", "s-1")
    assert caller.tags == {"team": "search", "env": "prod"}
    assert (caller.client_request_id, caller.key_id) == ("mine", "abc")
    assert caller.wants_confidence


@pytest.mark.parametrize("value", [b"1", b"yes", b""])
def test_a_bad_confidence_header_is_refused(value: bytes) -> None:
    assert not caller_of(scope((b"x-gateway-confidence", b"false")), Exchange()).wants_confidence
    with pytest.raises(InvalidRequest, match="true or false"):
        caller_of(scope((b"x-gateway-confidence", value)), Exchange())


@pytest.mark.parametrize("value", [b"high", b"1.01", b"-0.1", b"nan", b"inf"])
def test_a_bad_threshold_header_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="from 0 to 1"):
        caller_of(scope((b"x-gateway-threshold", value)), Exchange())


@pytest.mark.parametrize(
    "value", [b"team", b"=x", b"a=" + b"b" * 65, b",".join(b"k%d=v" % i for i in range(17))]
)
def test_bad_tags_are_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest):
        caller_of(scope((b"x-gateway-tags", value)), Exchange())
