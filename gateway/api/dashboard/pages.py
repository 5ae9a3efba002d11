"""The dashboard's files: one page, its scripts and styles. No data is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from gateway.api.dashboard.access import DASHBOARD
from gateway.api.exchange import header

STATIC = Path(__file__).parent / "static"
PAGE = "index.html"

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}

#: Nothing inline, nothing from elsewhere; no other page may frame it.
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "cross-origin-resource-policy": "same-origin",
    # Kept, and asked about each time: a new version shows at once.
    "cache-control": "private, no-cache",
}


@dataclass(slots=True, frozen=True)
class StaticFile:
    """One file, and what its `ETag` says of it."""

    body: bytes
    media_type: str
    etag: str


def static_files() -> dict[str, StaticFile]:
    """Every file by its path below the folder."""
    found = {}
    for path in sorted(STATIC.rglob("*.*")):
        body = path.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        name = path.relative_to(STATIC).as_posix()
        found[name] = StaticFile(body, _MEDIA_TYPES[path.suffix], etag)
    return found


def pages_routes() -> APIRouter:
    """The page and its files."""
    router = APIRouter(prefix=DASHBOARD, include_in_schema=False)
    files = static_files()

    @router.api_route("", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        return _answer(request, files, PAGE)

    @router.get("/")
    async def with_slash() -> Response:
        # The page's addresses are relative, so that a proxy may put a path before them.
        return Response(status_code=308, headers={"location": f"..{DASHBOARD}"})

    @router.api_route("/static/{name:path}", methods=["GET", "HEAD"])
    async def static(request: Request, name: str) -> Response:
        return _answer(request, files, name)

    return router


def _answer(request: Request, files: Mapping[str, StaticFile], name: str) -> Response:
    file = files.get(name)
    if file is None:
        raise HTTPException(404)
    headers = {**_HEADERS, "etag": file.etag}
    if file.etag in (header(request.scope, b"if-none-match") or ""):
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)
