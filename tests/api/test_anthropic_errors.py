"""Errors on the paths of Anthropic's clients, whatever part of the gateway sends them."""

import orjson
import pytest
from starlette.types import Message

from gateway.api.anthropic_errors import anthropic_envelope, in_the_clients_words, is_anthropics
from gateway.core.errors import (
    DeadlinePassed,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    RequestTooLarge,
    ShuttingDown,
    StreamInterrupted,
    Unauthorized,
    UpstreamError,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/messages", True),
        ("/v1/messages/", True),
        ("/v1/messages/count_tokens", True),
        ("/v1/messages/batches", True),
        ("/v1/messagesx", False),
        ("/v1/chat/completions", False),
        ("/", False),
    ],
)
def test_whose_paths(path: str, expected: bool) -> None:
    assert is_anthropics(path) is expected


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("x"), "invalid_request_error"),
        (ModelNotFound("x"), "not_found_error"),
        (RequestTooLarge("x"), "request_too_large"),
        (Unauthorized("x"), "authentication_error"),
        (UpstreamError("x", status=429), "rate_limit_error"),
        (UpstreamError("x", status=529), "overloaded_error"),
        (UpstreamError("x", status=401), "api_error"),  # our key, not the client's
        (Overloaded("x"), "overloaded_error"),
        (ShuttingDown(), "overloaded_error"),
        (DeadlinePassed("x"), "timeout_error"),
        (StreamInterrupted("x"), "api_error"),
        (GatewayError("x"), "api_error"),
    ],
)
def test_kinds(error: GatewayError, kind: str) -> None:
    told = orjson.loads(anthropic_envelope(error, "req_1"))
    assert told == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": "req_1",
    }


async def passed(path: str, status: int, *parts: bytes) -> list[Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    translating = in_the_clients_words(path, send, "req_1")
    length = b"%d" % sum(map(len, parts))
    headers = [(b"content-length", length), (b"retry-after", b"7")]
    await translating({"type": "http.response.start", "status": status, "headers": headers})
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        await translating({"type": "http.response.body", "body": part, "more_body": not is_last})
    return messages


async def test_an_error_is_translated_and_keeps_its_other_headers() -> None:
    openai = b'{"error": {"message": "No.", "type": "invalid_request_error", "param": null}}'
    start, body = await passed("/v1/messages", 400, openai)
    headers = dict(start["headers"])
    assert headers[b"content-length"] == b"%d" % len(body["body"])
    assert (headers[b"retry-after"], headers[b"request-id"]) == (b"7", b"req_1")
    assert orjson.loads(body["body"])["error"] == {
        "type": "invalid_request_error",
        "message": "No.",
    }


@pytest.mark.parametrize("body", [b"", b"oops", b"[]", b"null", b'"x"', b"{}", b'{"error": null}'])
async def test_a_body_that_says_nothing_is_an_envelope_all_the_same(body: bytes) -> None:
    _, sent = await passed("/v1/messages", 500, body)
    told = orjson.loads(sent["body"])
    assert told["error"] == {"type": "api_error", "message": "The request failed."}


async def test_a_body_in_pieces_is_one_error() -> None:
    start, *bodies = await passed("/v1/messages", 400, b'{"error": {"mess', b'age": "No."}}')
    told = b"".join(one["body"] for one in bodies)
    assert orjson.loads(told)["error"]["message"] == "No."
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(told)
    assert bodies[-1].get("more_body", False) is False


async def test_answers_pass_as_they_come() -> None:
    start, *bodies = await passed("/v1/messages", 200, b"event: ", b"ping\n\n")
    assert [one["body"] for one in bodies] == [b"event: ", b"ping\n\n"]
    assert (b"request-id", b"req_1") in start["headers"]


async def test_other_paths_are_left_alone() -> None:
    openai = b'{"error": {"message": "No."}}'
    start, body = await passed("/v1/chat/completions", 400, openai)
    assert body["body"] == openai
    assert b"request-id" not in dict(start["headers"])
