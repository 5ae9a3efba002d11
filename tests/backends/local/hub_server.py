"""A hub on this machine: the part of its wire format that fetching a model takes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

REVISION = "5a3f" * 10
#: The hub keeps larger files apart, under their SHA-256.
_STORED_APART = 10_000
_BLOCK = 4096


@dataclass
class Hub:
    """Repositories by id, each a folder; and how the hub behaves.

    Of a weights file an answer is cut after `cut_after` bytes (None: never) and stalls after
    `stalls_after` until `may_go_on`; where the hub `corrupts`, the last byte is another. `asked`
    are the requests for files: the name, and where in it the answer began.
    """

    repositories: dict[str, Path]
    url: str = ""
    gated: bool = False
    cut_after: int | None = None
    corrupts: bool = False
    knows_ranges: bool = True
    stalls_after: int | None = None
    may_go_on: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def info(self, name: str) -> dict[str, Any]:
        folder = self.repositories[name]
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {
            "id": name,
            "modelId": name,
            "sha": REVISION,
            "private": False,
            "gated": False,
            "tags": [],
            "cardData": {"license": "apache-2.0"},
            "siblings": [_sibling(path, folder) for path in files],
        }


def _sibling(path: Path, folder: Path) -> dict[str, Any]:
    content = path.read_bytes()
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    listed = {
        "rfilename": path.relative_to(folder).as_posix(),
        "size": len(content),
        "blobId": blob,
    }
    if len(content) > _STORED_APART:
        sha256 = hashlib.sha256(content).hexdigest()
        listed["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
    return listed


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/models/"):
            self._describe(path.removeprefix("/api/models/"))
        else:
            name, _, rest = path.strip("/").partition("/resolve/")
            self._send_file(self.hub.repositories[name] / rest.partition("/")[2])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its own signature)
        """Nothing on standard error."""

    def _describe(self, name: str) -> None:
        if name not in self.hub.repositories:
            self._say(404, {"error": "Repository not found"}, "RepoNotFound")
        elif self.hub.gated:
            self._say(403, {"error": "Access to it is restricted"}, "GatedRepo")
        else:
            self._say(200, self.hub.info(name))

    def _say(self, status: int, content: object, error: str | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if error is not None:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, path: Path) -> None:
        content = path.read_bytes()
        is_weights = path.suffix == ".safetensors"
        if is_weights and self.hub.corrupts:
            content = content[:-1] + bytes([content[-1] ^ 1])
        asked = self.headers.get("Range") if self.hub.knows_ranges else None
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        self.hub.asked.append((path.name, start))
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", '"anything"')
        self.end_headers()
        body = content[start:]
        is_cut = is_weights and self.hub.cut_after is not None and len(body) > self.hub.cut_after
        if is_weights:
            if self.hub.stalls_after is not None:
                self.wfile.write(body[: self.hub.stalls_after])
                body = body[self.hub.stalls_after :]
                self.hub.may_go_on.wait(30)
            if self.hub.cut_after is not None:
                body = body[: self.hub.cut_after]
        for begin in range(0, len(body), _BLOCK):
            self.wfile.write(body[begin : begin + _BLOCK])
        if is_cut:
            self.close_connection = True
            self.connection.close()


@contextmanager
def running_hub(repositories: dict[str, Path]) -> Iterator[Hub]:
    hub = Hub(repositories)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()
