"""The vendor's endpoints beside chat: audio, images, moderations, files, batches."""

from __future__ import annotations

import asyncio
import email
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: A second of sound, with every byte value in it.
SPEECH = bytes(range(256)) * 40
IMAGE = "iVBORw0KGgo="
IMAGE_USAGE: dict[str, Any] = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens": 1056,
    "total_tokens": 1106,
}
TRANSCRIPTION_USAGE: dict[str, Any] = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
    "output_tokens": 5,
    "total_tokens": 19,
}
WHISPER_USAGE: dict[str, Any] = {"type": "duration", "seconds": 9}
#: A download of so many pieces never ends in a test.
_ENDLESS = 3000


class OtherEndpoints:
    """Deterministic answers, and the files that were uploaded."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[dict[str, Any], bytes]] = {}

    def add_to(self, router: web.UrlDispatcher, wrapped: Callable[[Handler], Handler]) -> None:
        for method, path, handler in (
            ("POST", "moderations", self._moderation),
            ("POST", "audio/speech", self._speech),
            ("POST", "audio/transcriptions", self._transcription),
            ("POST", "audio/translations", self._transcription),
            ("POST", "images/generations", self._images),
            ("POST", "images/edits", self._images),
            ("POST", "images/variations", self._images),
            ("POST", "files", self._upload),
            ("GET", "files", self._list_files),
            ("GET", "files/{id}", self._file),
            ("DELETE", "files/{id}", self._delete),
            ("GET", "files/{id}/content", self._content),
            ("POST", "batches", self._batch),
            ("GET", "batches", self._list_batches),
            ("GET", "batches/{id}", self._batch),
            ("POST", "batches/{id}/cancel", self._batch),
        ):
            router.add_route(method, f"/v1/{path}", wrapped(handler))

    async def _moderation(self, request: web.Request) -> web.Response:
        body = await request.json()
        result = {"flagged": "kill" in str(body["input"]), "categories": {}, "category_scores": {}}
        model = body.get("model", "omni-moderation-latest")
        answer = {"id": "modr-1", "model": f"{model}-2024", "results": [result], "π": [1.50, 1e3]}
        return _json(answer)

    async def _speech(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        breaks = body["input"] == "broken"
        if body.get("stream_format") == "sse":
            usage = {"input_tokens": 4, "output_tokens": 101, "total_tokens": 105}
            delta = {"type": "speech.audio.delta", "audio": IMAGE}
            done = {"type": "speech.audio.done", "usage": usage}
            return await _events(request, delta, done, breaks=breaks)
        pieces = _ENDLESS if body["input"] == "endless" else 4
        return await _pieces(request, "audio/mpeg", [SPEECH] * pieces, breaks=breaks)

    async def _transcription(self, request: web.Request) -> web.StreamResponse:
        form, sound = await _form(request)
        text = f"{len(sound)} bytes, {form.get('language', 'any')}"
        is_counted = form["model"] != "whisper-1"
        usage = TRANSCRIPTION_USAGE if is_counted else WHISPER_USAGE
        if form.get("stream") == "true":
            delta = {"type": "transcript.text.delta", "delta": '"usage":{"input_tokens":9}'}
            done = {"type": "transcript.text.done", "text": text, "usage": usage}
            return await _events(request, delta, done)
        if form.get("response_format") == "text":
            return web.Response(text=f"{text}\n")
        return _json({"text": text, "usage": usage})

    async def _images(self, request: web.Request) -> web.StreamResponse:
        if request.content_type == "application/json":
            fields: Mapping[str, Any] = await request.json()
        else:
            fields, _ = await _form(request)
        if fields["prompt"] == "forbidden":
            error = {"message": "no", "type": "image_generation_user_error", "param": "prompt"}
            return _json({"error": {**error, "code": "moderation_blocked"}}, status=400)
        if fields.get("stream"):
            part = {"type": "image_generation.partial_image", "b64_json": IMAGE * 20_000}
            done = {"type": "image_generation.completed", "b64_json": IMAGE, "usage": IMAGE_USAGE}
            return await _events(request, part, done)
        data = [{"b64_json": IMAGE * 100_000}] * min(int(fields.get("n", 1)), 10)
        return _json({"created": 1, "usage": IMAGE_USAGE, "data": data, "size": "1024x1024"})

    async def _upload(self, request: web.Request) -> web.Response:
        form, content = await _form(request)
        number = f"file-{len(self.files) + 1}"
        described = {
            "id": number,
            "object": "file",
            "bytes": len(content),
            "created_at": 1,
            "filename": form["filename"],
            "purpose": form["purpose"],
            "status": "processed",
        }
        self.files[number] = (described, content)
        return _json(described)

    async def _list_files(self, request: web.Request) -> web.Response:
        purpose = request.query.get("purpose")
        found = [one for one, _ in self.files.values() if purpose in (None, one["purpose"])]
        return _json({"object": "list", "data": found, "has_more": False})

    async def _file(self, request: web.Request) -> web.Response:
        known = self.files.get(request.match_info["id"])
        return _missing() if known is None else _json(known[0])

    async def _delete(self, request: web.Request) -> web.Response:
        number = request.match_info["id"]
        if self.files.pop(number, None) is None:
            return _missing()
        return _json({"id": number, "object": "file", "deleted": True})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        known = self.files.get(request.match_info["id"])
        if known is None:
            return _missing()
        return web.Response(
            body=known[1],
            content_type="application/octet-stream",
            headers={
                "content-disposition": 'attachment; filename="a.jsonl"',
                "set-cookie": "upstream=1",
                "x-upstream-internal": "1",
            },
        )

    async def _batch(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        is_cancelled = request.path.endswith("/cancel")
        batch = {
            "id": request.match_info.get("id", "batch_1"),
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": 1,
            "input_file_id": "file-1",
            "status": "cancelling" if is_cancelled else "completed",
            "usage": {"input_tokens": 999, "output_tokens": 999, "total_tokens": 1998},
        }
        return _json({**batch, **body})

    async def _list_batches(self, request: web.Request) -> web.Response:
        return _json({"object": "list", "data": [], "has_more": False, "seen": [*request.query]})


async def _form(request: web.Request) -> tuple[dict[str, str], bytes]:
    """The fields of a form, with the file's name under `filename`; and the file's content."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    fields: dict[str, str] = {}
    content = b""
    for part in email.message_from_bytes(head + await request.read()).walk():
        if part.is_multipart():
            continue
        value = part.get_payload(decode=True)
        assert isinstance(value, bytes)
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is None:
            fields[str(name)] = value.decode()
        else:
            fields["filename"], content = str(part.get_filename()), value
    return fields, content


def _json(payload: Mapping[str, Any], status: int = 200) -> web.Response:
    body = json.dumps(payload, ensure_ascii=False).encode()
    return web.Response(body=body, content_type="application/json", status=status)


def _missing() -> web.Response:
    error = {"message": "No such File object", "type": "invalid_request_error", "param": "id"}
    return _json({"error": {**error, "code": None}}, status=404)


async def _events(
    request: web.Request, *events: Mapping[str, Any], breaks: bool = False
) -> web.StreamResponse:
    pieces = [f"data: {json.dumps(one)}\n\n".encode() for one in events]
    return await _pieces(request, "text/event-stream", pieces, breaks=breaks)


async def _pieces(
    request: web.Request, content_type: str, pieces: list[bytes], *, breaks: bool = False
) -> web.StreamResponse:
    """The pieces one by one; the connection is dropped before the last one where it `breaks`."""
    response = web.StreamResponse()
    response.content_type = content_type
    await response.prepare(request)
    for piece in pieces[:-1] if breaks else pieces:
        await response.write(piece)
        await asyncio.sleep(0.01)
    if breaks:
        assert request.transport is not None
        request.transport.abort()
        raise ConnectionResetError
    await response.write_eof()
    return response
