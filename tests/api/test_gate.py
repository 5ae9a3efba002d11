"""The outermost layer: ids, keys, and errors in the envelope whatever fails inside."""

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from gateway.api.gate import Gate
from gateway.api.keys import KeyRing
from gateway.api.respond import send_json
from gateway.core.errors import InvalidRequest, ModelNotFound

PATH = "/v1/chat/completions"


class Endpoint:
    """Answers with its name, or fails."""

    def __init__(self, name: str, failure: Exception | None = None, *, late: bool = False) -> None:
        self._name = name
        self._failure = failure
        self._late = late

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._failure is None or self._late:
            await send_json(send, 200, f'"{self._name}"'.encode())
        if self._failure is not None:
            raise self._failure


async def ask(gate: Gate, method: str = "POST", path: str = PATH, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=gate, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        return await http.request(method, path, headers=headers)


@pytest.mark.parametrize(
    ("method", "path", "answered_by"),
    [("POST", PATH, "chat"), ("GET", PATH, "rest"), ("POST", PATH + "/", "rest")],
)
async def test_what_is_asked_most_goes_straight_to_its_endpoint(
    method: str, path: str, answered_by: str
) -> None:
    gate = Gate(Endpoint("rest"), KeyRing(()), {("POST", PATH): Endpoint("chat")})
    response = await ask(gate, method, path)
    assert response.json() == answered_by
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_key_is_asked_for_before_any_endpoint() -> None:
    gate = Gate(Endpoint("rest"), KeyRing(["sk-1"]), {("POST", PATH): Endpoint("chat")})
    refused = await ask(gate)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert refused.headers["x-request-id"]
    assert (await ask(gate, authorization="Bearer sk-1")).json() == "chat"
    assert (await ask(gate, "GET", "/healthz")).json() == "rest"


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (ModelNotFound("There is no such model."), 404, "model_not_found"),
        (InvalidRequest("No.", param="n"), 400, None),
        (RuntimeError("sk-secret in a traceback"), 500, "internal_error"),
    ],
)
async def test_a_failure_of_a_direct_endpoint_is_answered_in_the_envelope(
    failure: Exception, status: int, code: str | None
) -> None:
    gate = Gate(Endpoint("rest"), KeyRing(()), {("POST", PATH): Endpoint("chat", failure)})
    response = await ask(gate)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert "sk-secret" not in response.text


async def test_a_failure_after_the_answer_has_begun_sends_no_second_answer() -> None:
    late = Endpoint("chat", RuntimeError("too late"), late=True)
    response = await ask(Gate(Endpoint("rest"), KeyRing(()), {("POST", PATH): late}))
    assert response.status_code == 200
    assert response.json() == "chat"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("LOCALHOST.", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("host.docker.internal:8080", 200),
        ("", 200),
        ("rebound.example:8080", 403),
        ("localhost.example", 403),
        ("127.0.0.1.example", 403),
        ("[::1", 403),
    ],
)
async def test_without_keys_no_other_sites_name_leads_here(host: str, status: int) -> None:
    open_to_all = Gate(Endpoint("rest"), KeyRing(()), checks_names=True)
    answer = await ask(open_to_all, host=host)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["code"] == "cross_site_request"
    assert (await ask(open_to_all, "GET", "/healthz", host=host)).status_code == 200
    with_keys = Gate(Endpoint("rest"), KeyRing(["sk-1"]), checks_names=True)
    assert (await ask(with_keys, host=host, authorization="Bearer sk-1")).status_code == 200
