"""Bodies, headers and paths of hostile clients: a 4xx in the envelope, and nobody else waits."""

import asyncio
import time

import httpx
import pytest

from tests.end_to_end.conftest import CLIENT_KEY, VENDOR_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

HEADERS = {"authorization": f"Bearer {CLIENT_KEY}", "content-type": "application/json"}
CHAT = "/v1/chat/completions"
USER = b'{"role": "user", "content": "x"}'


def chat(fields: bytes = b"", messages: bytes = USER) -> bytes:
    return b'{"model": "gpt-4o", "messages": [' + messages + b"]" + fields + b"}"


def post(gateway: RunningGateway, content: bytes, **headers: str) -> httpx.Response:
    given = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post(gateway.url + CHAT, content=content, headers=given, timeout=60)


def check(gateway: RunningGateway, response: httpx.Response) -> None:
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in response.headers
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert "Traceback" not in gateway.log.read_text()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b'"text"',
        b"{",
        b'{"model": NaN}',
        chat(b', "temperature": NaN'),
        chat(b', "temperature": Infinity'),
        chat(b', "temperature": 1e999'),
        chat(b', "temperature": -1'),
        chat(b', "top_p": 2'),
        chat(b', "max_tokens": -1'),
        chat(b', "max_tokens": 0'),
        chat(b', "n": 0'),
        chat(b', "stream": "yes"'),
        b'{"model": "gpt-4o", "messages": "x"}',
        b'{"model": "gpt-4o", "messages": {"role": "user"}}',
        b'{"model": "gpt-4o", "messages": [null]}',
        b'{"model": "gpt-4o", "messages": [{"content": "x"}]}',
        b'{"model": ["gpt-4o"], "messages": [' + USER + b"]}",
        b'{"model": "x\\u0000y", "messages": [' + USER + b"]}",
        b"\xff\xfe{}",
        chat(messages=b'{"role": "user", "content": "\xc3\x28"}'),
        chat(messages=b'{"role": "user", "content": "\\ud800"}'),
        b"[" * 100_000 + b"]" * 100_000,
        chat(b', "metadata": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        b" " * (21 * 1024 * 1024),
    ],
    ids=range(26),
)
def test_a_bad_body(gateway: RunningGateway, content: bytes) -> None:
    check(gateway, post(gateway, content))


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": "multipart/form-data"},
        {"content_encoding": "gzip"},
        {"x_gateway_threshold": "2"},
        {"x_gateway_threshold": "nan"},
        {"x_gateway_policy": "nothing"},
        {"x_gateway_tags": "no-equals-sign"},
        {"x_gateway_tags": "a=" + "b" * 5000},
        {"x_pad": "y" * 40_000},
    ],
)
def test_a_bad_header(gateway: RunningGateway, headers: dict[str, str]) -> None:
    body = chat().replace(b"gpt-4o", b"auto")
    check(gateway, post(gateway, body, **headers))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions/"),
        ("POST", "//v1/chat/completions"),
        ("GET", "/v1/%2e%2e/%2e%2e/etc/passwd"),
        ("GET", "/v1/models/../../x"),
        ("GET", "/v1/models/%00"),
        ("OPTIONS", "/v1/chat/completions"),
        ("TRACE", "/v1/chat/completions"),
        ("DELETE", "/v1/models"),
        ("GET", "/docs"),
    ],
)
def test_a_bad_path_or_method(gateway: RunningGateway, method: str, path: str) -> None:
    check(gateway, httpx.request(method, gateway.url + path, headers=HEADERS))


def test_a_host_header_changes_nothing(gateway: RunningGateway) -> None:
    for host in ("evil.example", "127.0.0.1/healthz?", "x@y"):
        response = httpx.get(f"{gateway.url}/v1/models", headers={"host": host})
        assert response.status_code == 401


def test_what_is_odd_but_allowed_goes_through(
    gateway: RunningGateway, vendor: RunningVendor
) -> None:
    many = b",".join([USER] * 10_000)
    for content in (
        chat(messages=many),
        chat(b', "seed": 123456789012345678, "unknown": {"kept": [1e3]}'),
        chat(messages=b'{"role": "user", "content": "NUL \\u0000 inside"}'),
        chat(b', "x": "' + b"y" * 15_000_000 + b'"'),
    ):
        assert post(gateway, content).status_code == 200
    assert b'"unknown": {"kept": [1e3]}' in vendor.received[1].raw


async def test_hostile_bodies_hold_up_nobody_else(
    gateway: RunningGateway, vendor: RunningVendor
) -> None:
    deep = b"[" * 100_000
    large = chat(messages=b'{"role": "user", "content": "' + b"a (" * 4_000_000 + b'"}')
    many = b'{"model": "auto", "messages": [' + b",".join([USER] * 10_000) + b"]}"
    waits: list[float] = []
    async with httpx.AsyncClient(base_url=gateway.url, headers=HEADERS, timeout=60) as http:
        hostile = [
            asyncio.create_task(http.post(CHAT, content=content))
            for content in (deep, large, many) * 3
        ]
        while not all(task.done() for task in hostile):
            began = time.monotonic()
            assert (await http.get("/healthz")).status_code == 200
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
        assert all(task.result().status_code < 500 for task in hostile)
    waits.sort()
    assert waits[len(waits) // 2] < 0.5


def test_no_secret_in_anything_that_was_written_or_answered(
    gateway: RunningGateway, vendor: RunningVendor
) -> None:
    told: list[str] = []
    for behaviour in (
        Behaviour(),
        Behaviour(status=401, body=f'{{"error": {{"message": "bad {VENDOR_KEY}"}}}}'.encode()),
        Behaviour(status=500, body=f"{VENDOR_KEY}".encode(), content_type="text/plain"),
        Behaviour(body=f"{{broken {VENDOR_KEY}".encode()),
        Behaviour(status=429, body=f'[{{"error": {{"message": "{VENDOR_KEY}"}}}}]'.encode()),
    ):
        vendor.always(behaviour)
        for content in (chat(), chat(b', "stream": true')):
            response = post(gateway, content)
            told.append(str(response.headers) + response.text)
    shown = ("/metrics", "/v1/costs", "/openapi.json", "/readyz", "/v1/models")
    told += [httpx.get(gateway.url + path, headers=HEADERS).text for path in shown]
    time.sleep(0.5)
    written = [
        path.read_bytes()
        for path in gateway.config.parent.rglob("*")
        if path.is_file() and path != gateway.config
    ]
    assert len(written) >= 2  # the log and the ledger
    everything = "".join(told).encode() + b"".join(written)
    for secret in (CLIENT_KEY, VENDOR_KEY):
        assert secret.encode() not in everything
