"""The dashboard's files: complete, cached, and nothing inline or from elsewhere."""

import hashlib
import re

import httpx
import pytest
from fastapi import FastAPI

from gateway.api.dashboard.pages import PAGE, STATIC, pages_routes, static_files

#: What npm has as uplot@1.6.32; `make vendor` writes them.
VENDORED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
FILES = static_files()


async def get(path: str, **headers: str) -> httpx.Response:
    app = FastAPI(redirect_slashes=False)
    app.router.routes += pages_routes().routes
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        return await http.get(path, headers=headers)


@pytest.mark.parametrize("name", VENDORED)
def test_the_chart_library_is_what_npm_has(name: str) -> None:
    assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == VENDORED[name]


def test_the_page_names_only_files_that_are_there_and_has_nothing_inline() -> None:
    page = FILES[PAGE].body.decode()
    named = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert named
    for address in named:
        assert address.removeprefix("dashboard/static/") in FILES
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


@pytest.mark.parametrize(
    "name", [name for name in FILES if name.endswith((".js", ".css", ".html"))]
)
def test_no_file_asks_another_host(name: str) -> None:
    text = FILES[name].body.decode()
    assert not re.search(r"https?://(?!www\.w3\.org/)|//cdn", text) or "vendor" in name


@pytest.mark.parametrize("name", [name for name in FILES if re.fullmatch(r"\w+\.js", name)])
def test_modules_import_what_is_there_and_make_no_markup_of_texts(name: str) -> None:
    text = FILES[name].body.decode()
    for imported in re.findall(r'from "\./([^"]+)"', text):
        assert imported in FILES
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert not re.search(r"(?:parseFloat|Number)\([^)]*usd", text)


async def test_files_are_asked_about_each_time_and_sent_when_they_have_changed() -> None:
    first = await get("/dashboard")
    assert first.status_code == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["cache-control"] == "private, no-cache"
    again = await get("/dashboard", **{"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    changed = await get("/dashboard", **{"if-none-match": '"other"'})
    assert changed.content == first.content


async def test_the_policy_of_the_page_allows_its_own_files_alone() -> None:
    headers = (await get("/dashboard")).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    "name", ["", "none.js", "../pages.py", "%2e%2e/pages.py", "vendor", "/etc/passwd"]
)
async def test_nothing_but_its_files_is_served(name: str) -> None:
    assert (await get(f"/dashboard/static/{name}")).status_code == 404


async def test_a_slash_too_many_leads_back_whatever_stands_before_the_path() -> None:
    moved = await get("/dashboard/")
    assert (moved.status_code, moved.headers["location"]) == (308, "../dashboard")
