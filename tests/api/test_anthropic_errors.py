"""Errors in Anthropic's envelope, whoever in the gateway has written them."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest
from anthropic.types import ErrorResponse
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.anthropic_errors import anthropic_envelope, is_anthropics
from gateway.api.errors import envelope, headers_of, status_of
from gateway.api.gate import Gate
from gateway.api.keys import KeyRing
from gateway.api.respond import send_json
from gateway.core.errors import (
    ContextTooLong,
    DeploymentResting,
    EngineUnavailable,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    RequestTooLarge,
    StreamInterrupted,
    Unauthorized,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)

PATH = "/v1/messages"
ERRORS = [
    (InvalidRequest("No.", param="n"), 400, "invalid_request_error"),
    (ContextTooLong("Long."), 400, "invalid_request_error"),
    (Unauthorized("Who?"), 401, "authentication_error"),
    (ModelNotFound("What?"), 404, "not_found_error"),
    (RequestTooLarge("Large."), 413, "request_too_large"),
    (UpstreamError("Slow down.", status=429, retry_after_s=7), 429, "rate_limit_error"),
    (UpstreamError("Odd.", status=418), 418, "invalid_request_error"),
    (UpstreamError("Our key.", status=401), 502, "api_error"),
    (UpstreamError("Busy.", status=529), 529, "overloaded_error"),
    (UpstreamUnavailable("Gone."), 502, "api_error"),
    (StreamInterrupted("Cut."), 502, "api_error"),
    (EngineUnavailable("Loading.", retry_after_s=1), 503, "overloaded_error"),
    (DeploymentResting("Rests."), 503, "overloaded_error"),
    (UpstreamTimeout("Late."), 504, "timeout_error"),
    (GatewayError("Broken."), 500, "api_error"),
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/messages", True),
        ("/v1/messages/", True),
        ("/v1/messages/count_tokens", True),
        ("/v1/messagesx", False),
        ("/v1/chat/completions", False),
        ("/V1/messages", False),
    ],
)
def test_whose_clients_a_path_has(path: str, expected: bool) -> None:
    assert is_anthropics(path) is expected


@pytest.mark.parametrize(("error", "status", "kind"), ERRORS, ids=lambda one: type(one).__name__)
def test_an_error_in_the_envelope(error: GatewayError, status: int, kind: str) -> None:
    told = orjson.loads(anthropic_envelope(error, "req_1"))
    assert told == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": "req_1",
    }
    assert status_of(error) == status
    if kind != "request_too_large":  # Anthropic's reference has it, its SDK doesn't
        ErrorResponse.model_validate(told)


Answering = Callable[[Scope, Receive, Send], Awaitable[None]]


async def ask(app: ASGIApp, path: str = PATH, method: str = "POST", **keys: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        return await http.request(method, path, headers=keys)


def gate(answering: Answering, *keys: str) -> Gate:
    return Gate(answering, KeyRing(keys))


def raising(error: Exception) -> Answering:
    async def answering(_: Scope, __: Receive, ___: Send) -> None:
        raise error

    return answering


def sending(status: int, body: bytes) -> Answering:
    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, status, body, [(b"x-own", b"1")])

    return answering


@pytest.mark.parametrize(("error", "status", "kind"), ERRORS, ids=lambda one: type(one).__name__)
async def test_what_an_endpoint_raises(error: GatewayError, status: int, kind: str) -> None:
    response = await ask(gate(raising(error)))
    told = response.json()
    assert (response.status_code, told["error"]["type"]) == (status, kind)
    assert told["error"]["message"] == error.message
    ids = {response.headers["x-request-id"], response.headers["request-id"], told["request_id"]}
    assert len(ids) == 1
    assert int(response.headers["content-length"]) == len(response.content)
    for name, value in headers_of(error):
        assert response.headers[name.decode()] == value.decode()


@pytest.mark.parametrize("path", [PATH, f"{PATH}/count_tokens", f"{PATH}/nowhere"])
async def test_a_missing_key(path: str) -> None:
    locked = gate(sending(200, b"{}"), "sk-1")
    response = await ask(locked, path)
    assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")
    assert (await ask(locked, path, **{"x-api-key": "sk-1"})).status_code == 200


async def test_a_key_of_anthropics_clients_opens_nothing_else() -> None:
    locked = gate(sending(200, b"{}"), "sk-1")
    for path in ("/v1/messagesx", "/v1/chat/completions"):
        response = await ask(locked, path, **{"x-api-key": "sk-1"})
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"


async def test_a_failure_that_nobody_expected_tells_nothing() -> None:
    response = await ask(gate(raising(RuntimeError("sk-secret"))))
    assert (response.status_code, response.json()["error"]["type"]) == (500, "api_error")
    assert "sk-secret" not in response.text


@pytest.mark.parametrize("body", [b"", b"plain", b"[]", b"{}", b'{"error": null}'])
async def test_a_body_without_an_envelope(body: bytes) -> None:
    response = await ask(gate(sending(400, body)))
    told: Any = response.json()
    assert told["error"] == {"type": "invalid_request_error", "message": "The request failed."}
    assert response.headers["x-own"] == "1"
    assert response.headers.get_list("content-length") == [str(len(response.content))]


async def test_an_answer_that_is_no_error_stays_as_it_is() -> None:
    response = await ask(gate(sending(200, b'{"error": {"message": "kept"}}')))
    assert response.content == b'{"error": {"message": "kept"}}'
    assert response.headers["request-id"] == response.headers["x-request-id"]


async def test_errors_of_other_paths_stay_openais() -> None:
    error = InvalidRequest("No.", param="n")
    response = await ask(gate(raising(error)), "/v1/chat/completions")
    assert response.content == envelope(error)
    assert "request-id" not in response.headers


async def test_text_is_replaced_whatever_its_headers_are_called() -> None:
    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("x" * 5000, 404)(scope, receive, send)

    response = await ask(gate(answering))
    assert response.json()["error"]["type"] == "not_found_error"
    assert len(response.content) < 200
