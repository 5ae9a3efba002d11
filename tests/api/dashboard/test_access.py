"""Who may use the dashboard: keys as browsers send them, and only from the gateway's own page."""

import base64
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from gateway.api.dashboard.access import (
    admissible,
    check_site,
    in_a_browsers_words,
    is_dashboards,
    with_bearer,
)
from gateway.api.errors import ForeignPage, SignInNeeded
from gateway.api.gate import Gate
from gateway.api.keys import KeyRing
from gateway.api.respond import send_json
from gateway.core.errors import Unauthorized

KEYS = KeyRing(["sk-right"])


def scope(method: str = "GET", path: str = "/dashboard", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": pairs, "query_string": b""}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def identify(keys: KeyRing, scope: dict[str, Any]) -> str | None:
    try:
        return keys.identify(admissible(scope)).key_id
    except Unauthorized as error:
        raise in_a_browsers_words(error) from None


@pytest.mark.parametrize(
    "authorization",
    [
        basic("anybody", "sk-right"),
        basic("", "sk-right"),
        basic("sk-right", ""),
        "basic  " + basic("x", "sk-right").split()[1],
        "Bearer sk-right",
    ],
)
def test_the_key_is_the_password_or_a_bearers(authorization: str) -> None:
    bearer = scope("GET", "/v1/models", authorization="Bearer sk-right")
    assert identify(KEYS, scope(authorization=authorization)) == KEYS.identify(bearer).key_id


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Basic",
        "Basic !",
        "Basic " + "=" * 9,
        basic("sk-right", "sk-wrong"),
        "Digest sk-right",
    ],
)
def test_anything_else_asks_the_browser_for_a_key(authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    with pytest.raises(SignInNeeded) as caught:
        identify(KEYS, scope(**headers))
    assert "sk-" not in caught.value.message


def test_without_keys_everybody_is_let_in() -> None:
    assert identify(KeyRing(()), scope()) is None


def test_other_headers_stay() -> None:
    seen = with_bearer(scope(authorization=basic("x", "k"), accept="text/html"))
    assert (b"accept", b"text/html") in seen["headers"]
    assert len(seen["headers"]) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": "http://gateway:8080", "host": "gateway:8080"},
        # A proxy may name another host; what the browser says of the page's own site counts.
        {"origin": "https://gateway", "host": "127.0.0.1:8080", "sec_fetch_site": "same-origin"},
    ],
)
def test_the_page_itself_and_programs_may_ask(headers: dict[str, str]) -> None:
    check_site(scope("POST", "/dashboard/chat", **headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {
            "sec_fetch_site": "cross-site",
            "sec_fetch_mode": "navigate",
            "sec_fetch_dest": "document",
        },
        {"origin": "http://evil.example", "host": "gateway:8080"},
        {"origin": "null", "host": "gateway:8080"},
        {"origin": "http://gateway:8081", "host": "gateway:8080"},
    ],
)
@pytest.mark.parametrize("path", ["/dashboard/chat", "/dashboard/figures"])
def test_other_sites_pages_may_not(path: str, headers: dict[str, str]) -> None:
    with pytest.raises(ForeignPage):
        check_site(scope("POST", path, **headers))


def test_a_link_elsewhere_opens_the_page_but_no_frame_of_it() -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    check_site(scope(**link, sec_fetch_dest="document"))
    with pytest.raises(ForeignPage):
        check_site(scope(**link, sec_fetch_dest="iframe"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dashboard", True),
        ("/dashboard/chat", True),
        ("/dashboards", False),
        ("/v1/dashboard", False),
    ],
)
def test_its_paths(path: str, expected: bool) -> None:
    assert is_dashboards(path) is expected


async def answered(scope: Scope, _receive: Receive, send: Send) -> None:
    await send_json(send, 200, scope["path"].encode())


async def test_basic_counts_on_the_dashboards_paths_alone() -> None:
    transport = httpx.ASGITransport(app=Gate(answered, KEYS))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        credentials = {"authorization": basic("x", "sk-right")}
        assert (await http.get("/dashboard", headers=credentials)).status_code == 200
        elsewhere = await http.get("/v1/models", headers=credentials)
        assert elsewhere.status_code == 401
        assert elsewhere.headers["www-authenticate"] == "Bearer"
        asked = await http.get("/dashboard/figures")
        assert asked.status_code == 401
        assert asked.headers["www-authenticate"].startswith("Basic ")
        assert asked.json()["error"]["code"] == "invalid_api_key"
        foreign = {**credentials, "origin": "http://evil.example"}
        refused = await http.post("/dashboard/chat", headers=foreign)
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "cross_site_request"
