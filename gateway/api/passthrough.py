"""Endpoints that are passed on upstream: moderations, audio, images, files, batches."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.api.admission import admit
from gateway.api.body import ClientLeft, read_body
from gateway.api.chat import ChatEvents
from gateway.api.endpoint import Live
from gateway.api.errors import Headers, UnsupportedMediaType
from gateway.api.exchange import Exchange, exchange_of, header
from gateway.api.multipart import field_spans
from gateway.api.parse import LONGEST_NAME, caller_of, parse_object
from gateway.api.presence import Presence
from gateway.api.respond import UNBUFFERED, route_headers, whole_usd
from gateway.core.access import VirtualKey
from gateway.core.entry import LedgerEntry
from gateway.core.errors import Forbidden, GatewayError, InvalidRequest, reason_of
from gateway.core.forwarding import ForwardedRequest, Piece
from gateway.core.request import Caller
from gateway.pipeline import Reply

JSON = "application/json"
FORM = "multipart/form-data"
EVENTS = "text/event-stream"
ANY = "*/*"
#: An id can't be anything that means more in a path than itself.
ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
_ID = re.compile(ID_PATTERN)
#: What the gateway reads of a form.
_READ_FIELDS = frozenset({"model", "stream"})
_LONGEST_HEADER = 1024
_MOST_PARAMETERS = 32


@dataclass(slots=True, frozen=True)
class Operation:
    """One method of one path: media types of its body, none where it has none, and of answers."""

    method: str
    path: str
    summary: str
    media: tuple[str, ...] = ()
    answers: tuple[str, ...] = (JSON,)

    @property
    def is_stored(self) -> bool:
        """Whether it is about what lies upstream: no model in it says where it goes.

        Usage in an answer of the others is the request's own.
        """
        return self.path.startswith(("/v1/files", "/v1/batches"))


_WRITTEN = (JSON, EVENTS, "text/plain", "text/vtt", "application/x-subrip")

OPERATIONS = (
    Operation("POST", "/v1/moderations", "Classify texts and images.", (JSON,), (JSON,)),
    Operation("POST", "/v1/audio/speech", "Speak a text.", (JSON,), ("audio/*", EVENTS, ANY)),
    Operation("POST", "/v1/audio/transcriptions", "Write down what is said.", (FORM,), _WRITTEN),
    Operation(
        "POST", "/v1/audio/translations", "Write down in English what is said.", (FORM,), _WRITTEN
    ),
    Operation("POST", "/v1/images/generations", "Make images.", (JSON,), (JSON, EVENTS)),
    Operation("POST", "/v1/images/edits", "Change images.", (FORM, JSON), (JSON, EVENTS)),
    Operation("POST", "/v1/images/variations", "Vary an image.", (FORM,), (JSON,)),
    Operation("GET", "/v1/files", "The files that lie upstream."),
    Operation("POST", "/v1/files", "Upload a file.", (FORM,)),
    Operation("GET", "/v1/files/{file_id}", "A file's description."),
    Operation("DELETE", "/v1/files/{file_id}", "Delete a file."),
    Operation("GET", "/v1/files/{file_id}/content", "A file's content.", (), (ANY,)),
    Operation("GET", "/v1/batches", "The batches that run upstream, outside the gateway."),
    Operation("POST", "/v1/batches", "Begin a batch; its requests aren't routed.", (JSON,)),
    Operation("GET", "/v1/batches/{batch_id}", "A batch's state."),
    Operation("POST", "/v1/batches/{batch_id}/cancel", "Cancel a batch."),
)


def passthrough_routes(live: Live, body_limit_bytes: int) -> list[Route]:
    """A route for each path."""
    presence = Presence()
    routes = []
    for path in dict.fromkeys(operation.path for operation in OPERATIONS):
        known = {one.method: one for one in OPERATIONS if one.path == path}
        endpoint = PassthroughEndpoint(live, known, body_limit_bytes, presence)
        route = Route(path, endpoint, methods=[*known])
        route.methods = set(known)  # without the HEAD that comes with every GET
        routes.append(route)
    return routes


class PassthroughEndpoint:
    """One path: the request goes on as it came, and its answer comes back as it is."""

    def __init__(
        self,
        live: Live,
        operations: dict[str, Operation],
        body_limit_bytes: int,
        presence: Presence,
    ) -> None:
        """`operations` are keyed by method."""
        self._live = live
        self._operations = operations
        self._body_limit_bytes = body_limit_bytes
        self._presence = presence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; when the client leaves, the work for it ends."""
        exchange = exchange_of(scope)
        operation = self._operations[scope["method"]]
        try:
            check_reach(operation, exchange.key)
            body = b""
            if operation.media:
                body = await read_body(scope, receive, self._body_limit_bytes, json_only=False)
            request = forwarded(operation, scope, body)
            caller = caller_of(scope, exchange)
            await admit(exchange, request)
            await self._presence.while_connected(
                receive, self._answer(request, caller, exchange, send)
            )
        except ClientLeft:
            return

    async def _answer(
        self, request: ForwardedRequest, caller: Caller, exchange: Exchange, send: Send
    ) -> None:
        reply = await self._live.pipeline.forward(request, caller)
        exchange.entry = reply.entry
        first = reply.first
        assert isinstance(first, Piece)  # noqa: S101 (what `forward` gives)
        async with aclosing(reply.rest):
            if first.is_whole:
                async for _ in reply.rest:  # to its end: the entry is recorded before the answer
                    pass
                await _send_whole(send, first, reply.entry)
            else:
                await _send_pieces(send, first, reply)


def check_reach(operation: Operation, key: VirtualKey | None) -> None:
    """Raises Forbidden for what tells of others' work, or asks for models that the key may not.

    What lies upstream is everybody's; whoever has its id, which can't be guessed, may use it.
    """
    if key is None or not operation.is_stored or "{" in operation.path:
        return
    if operation.method == "GET":
        raise Forbidden("A virtual key may not list what all keys have put upstream.")
    if operation.path == "/v1/batches" and key.models is not None:
        raise Forbidden(f"A batch asks for any model, and the key '{key.name}' is for some alone.")


def forwarded(operation: Operation, scope: Scope, body: bytes) -> ForwardedRequest:
    """Check what the gateway reads of a request; the rest is the upstream's to judge.

    Raises InvalidRequest.
    """
    content_type = _header(scope, b"content-type") if operation.media else None
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if operation.media and media_type not in operation.media:
        wanted = " or ".join(operation.media)
        raise UnsupportedMediaType(f"The body must be {wanted}: say so in 'content-type'.")
    payload = parse_object(body) if media_type == JSON else None
    spans = {}
    if media_type == FORM:
        spans = field_spans(body, content_type or "", once=_READ_FIELDS)
    fields = payload if payload is not None else _texts(body, spans)
    model = "" if operation.is_stored else _model(fields.get("model"))
    text = fields.get("input") if operation.path == "/v1/audio/speech" else None
    return ForwardedRequest(
        method=operation.method,
        path=_path(operation, scope),
        endpoint=operation.path,
        query=_query(scope),
        body=body,
        content_type=content_type,
        accept=_header(scope, b"accept"),
        model=model,
        payload=payload,
        model_span=spans.get("model"),
        stream=fields.get("stream") in (True, "true") or fields.get("stream_format") == "sse",
        is_metered=not operation.is_stored,
        characters=len(text) if isinstance(text, str) else 0,
    )


def _texts(body: bytes, spans: dict[str, tuple[int, int]]) -> dict[str, str]:
    """The short fields of a form that the gateway reads."""
    return {
        name: body[slice(*spans[name])].decode("utf-8", "replace")
        for name in _READ_FIELDS
        if name in spans and spans[name][1] - spans[name][0] <= 4 * LONGEST_NAME
    }


def _model(name: object) -> str:
    if name is None:
        return ""
    if not isinstance(name, str):
        raise InvalidRequest("Invalid 'model': it must be a string.", param="model")
    if len(name) > LONGEST_NAME or not name.isprintable():
        message = f"'model' must be at most {LONGEST_NAME} printable characters."
        raise InvalidRequest(message, param="model", code="invalid_value")
    return name


def _path(operation: Operation, scope: Scope) -> str:
    """The path below the API's base."""
    path = operation.path.removeprefix("/v1")
    for name, value in scope.get("path_params", {}).items():
        if not _ID.fullmatch(value):
            raise InvalidRequest(f"'{name}' is not an id.", param=name, code="invalid_value")
        path = path.replace(f"{{{name}}}", value)
    return path


def _query(scope: Scope) -> tuple[tuple[str, str], ...]:
    try:
        text = scope["query_string"].decode("latin-1")
        return tuple(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS))
    except ValueError:
        message = f"At most {_MOST_PARAMETERS} query parameters are passed on."
        raise InvalidRequest(message) from None


def _header(scope: Scope, name: bytes) -> str | None:
    value = header(scope, name)
    if value is None:
        return None
    if len(value) > _LONGEST_HEADER or not (value.isascii() and value.isprintable()):
        shown = name.decode()
        raise InvalidRequest(f"The header '{shown}' can't be passed on.", param=shown)
    return value


async def _send_whole(send: Send, answer: Piece, entry: LedgerEntry) -> None:
    headers = [pair for pair in answer.headers if pair[0] != b"content-length"]
    headers += route_headers(entry)
    usd = whole_usd(entry)
    if usd is not None:
        headers.append((b"x-gateway-cost-usd", usd))
    headers.append((b"x-gateway-cost-source", entry.cost.source.encode()))
    headers.append((b"content-length", b"%d" % len(answer.frames)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.frames})


async def _send_pieces(send: Send, first: Piece, reply: Reply) -> None:
    """An answer as it comes; one that breaks is left unended, so that the client sees that."""
    headers: Headers = [*first.headers, *route_headers(reply.entry), UNBUFFERED]
    await send({"type": "http.response.start", "status": first.status, "headers": headers})
    end = b""
    before = b"\n\n"
    try:
        await send({"type": "http.response.body", "body": first.frames, "more_body": True})
        before = (before + first.frames)[-4:]
        async for item in reply.rest:
            assert isinstance(item, Piece)  # noqa: S101 (what `forward` gives)
            if item.frames:
                before = (before + item.frames)[-4:]
                part = {"type": "http.response.body", "body": item.frames, "more_body": True}
                await send(part)
    except GatewayError as error:
        failure: GatewayError | None = error
    except asyncio.CancelledError as cancelled:
        failure = reason_of(cancelled)
        if failure is None:
            raise
    else:
        failure = None
    if failure is not None:
        if not (_is_stream(first.headers) and before.replace(b"\r", b"").endswith(b"\n\n")):
            return
        end = ChatEvents(reply.entry, include_usage=False).fail(failure)
    await send({"type": "http.response.body", "body": end})


def _is_stream(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(
        name == b"content-type" and value.startswith(EVENTS.encode()) for name, value in headers
    )
