"""HTTP/1.1 with limits: on the time that a request may take to come in, on sizes, on connections.

uvicorn's protocol has none of them, and answers what it can't read with plain text. This subclass
relies on these of uvicorn's internals: the parser's callbacks and `data_received` as its methods;
`cycle` with `response_started`, `response_complete`, `disconnected`, `message_event` and `scope`;
`flow.read_paused`; `headers` being read by `on_headers_complete` alone; `connections`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.api.errors import envelope_of
from gateway.api.exchange import SCOPE_KEY, Exchange
from gateway.api.security import SECURITY_HEADERS

LONGEST_TARGET_BYTES = 8 * 1024
MOST_HEADERS = 256

#: How long what a refused client still sends is read and dropped: closing at once would reset the
#: connection, and the answer could be lost.
LINGER_S = 2.0

_log = logging.getLogger("gateway.request")


@dataclass(slots=True, frozen=True)
class Limits:
    """What one client may take. A body has `body_timeout_s`, and the time at the slowest rate."""

    header_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    body_bytes_per_s: float
    connections: int


@dataclass(slots=True, frozen=True)
class _Refusal:
    status: int
    code: str
    message: str


_MALFORMED = _Refusal(400, "invalid_http", "This is not a valid HTTP/1.1 request.")
_TARGET_TOO_LONG = _Refusal(414, "uri_too_long", "The request's path and query are too long.")
_HEADERS_TOO_LARGE = _Refusal(431, "headers_too_large", "The request's headers are too large.")
_HEADERS_TOO_SLOW = _Refusal(408, "request_timeout", "The request's headers took too long to come.")
_BODY_TOO_SLOW = _Refusal(408, "request_timeout", "The request's body took too long to come.")
_FULL = _Refusal(503, "too_many_connections", "The gateway has as many connections as it may.")


_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})


# What the client is to send next. Plain numbers: they are compared for every packet.
_REQUEST, _HEADERS, _BODY, _NOTHING = range(4)


class LimitedProtocol(HttpToolsProtocol):
    """One connection. Its one timer looks at it now and then, and costs a request nothing."""

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._awaiting = _REQUEST
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: _Refusal | None = None
        self._heard_s = self._since_s = 0.0
        self._upgrading = False
        self._packet_bytes = 0
        self._received_bytes = 0
        self._bodiless_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch the connection, or refuse one too many."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._refuse(_FULL)
            transport.close()
            return
        self._heard_s = self._since_s = self.loop.time()
        self._look_again_in(self._limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; what can't be parsed, or is over a limit, is refused."""
        if self._awaiting == _NOTHING:
            return
        self._heard_s = self.loop.time()
        self._packet_bytes = size = len(data)
        self._received_bytes += size
        self._bodiless_bytes += size
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._parse_after_upgrade(memoryview(data)[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal or _MALFORMED)
            return
        if self._awaiting == _HEADERS:
            if self._received_bytes > self._limits.header_bytes or self._headers_too_large():
                self._refuse(_HEADERS_TOO_LARGE)
        elif self._awaiting == _BODY and self._bodiless_bytes > self._limits.header_bytes:
            self._refuse(_MALFORMED)  # endless trailers, or chunks that are all extension

    def _parse_after_upgrade(self, data: memoryview) -> None:
        while True:
            self._stay_in_http()
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            else:
                return

    def _stay_in_http(self) -> None:
        """Begin the request anew, without its offer to upgrade.

        The parser takes what follows for another protocol. It is this request's body: a client that
        only offers HTTP/2 (Java's does, with every first request) goes on in HTTP/1.1.
        """
        head = [self.scope["method"].encode(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name not in _UPGRADE_HEADERS:
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"".join(head) + b"\r\n")

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        HttpToolsProtocol.on_message_begin(self)
        # Not at any byte, as uvicorn does: empty lines between requests would keep it for ever.
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._awaiting = _HEADERS
        self._since_s = self._heard_s
        self._received_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self.url += url
        if len(self.url) > LONGEST_TARGET_BYTES:
            self._refusal = _TARGET_TOO_LONG
            raise ValueError

    def on_headers_complete(self) -> None:
        """Check the headers' size, then let the application begin."""
        over = self._received_bytes + self._packet_bytes > self._limits.header_bytes
        if len(self.headers) > MOST_HEADERS or (over and self._headers_too_large()):
            self._refusal = _HEADERS_TOO_LARGE
            raise ValueError
        self._upgrading = self.parser.should_upgrade()
        if self._upgrading:
            method = self.parser.get_method()
            if method == b"CONNECT":
                raise ValueError
            self.scope["method"] = method.decode("ascii")
            return
        HttpToolsProtocol.on_headers_complete(self)
        self.headers = []  # trailers go here, and nowhere
        self._awaiting = _BODY
        self._since_s = self._heard_s
        self._received_bytes = self._bodiless_bytes = 0

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._bodiless_bytes = 0
        HttpToolsProtocol.on_body(self, body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._upgrading:
            HttpToolsProtocol.on_message_complete(self)
            self._awaiting = _REQUEST

    def _headers_too_large(self) -> bool:
        size = sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size > self._limits.header_bytes

    def _look_again_in(self, delay_s: float) -> None:
        self._timer = self.loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        """Refuse a request that has taken too long."""
        if self._awaiting == _NOTHING or self.transport.is_closing():
            self.transport.abort()
            return
        now_s = self.loop.time()
        left_s = self._deadline_s(now_s) - now_s
        if left_s > 0:
            # No longer than a deadline lasts: what begins after now is looked at in time too.
            limits = self._limits
            self._look_again_in(min(left_s, limits.header_timeout_s, limits.body_timeout_s))
        elif self._awaiting == _REQUEST:
            self.transport.close()
        else:
            late = self._awaiting == _HEADERS
            self._refuse(_HEADERS_TOO_SLOW if late else _BODY_TOO_SLOW)

    def _deadline_s(self, now_s: float) -> float:
        """When the time is up for what the client is sending."""
        limits = self._limits
        if self._awaiting == _REQUEST:
            # Between two requests uvicorn's own timer runs.
            return (self._since_s if self.cycle is None else now_s) + limits.header_timeout_s
        in_headers = self._awaiting == _HEADERS
        if self.flow.read_paused or (in_headers and not self._may_answer()):
            self._since_s = self._heard_s = now_s  # the gateway is the one that takes its time
        if in_headers:
            return self._since_s + limits.header_timeout_s
        answered = self.cycle.response_complete
        earned_s = 0.0 if answered else self._received_bytes / limits.body_bytes_per_s
        return limits.body_timeout_s + min(self._heard_s, self._since_s + earned_s)

    def _may_answer(self) -> bool:
        """Whether an answer written now stands where the client expects one."""
        if self._awaiting == _BODY:
            return not self.cycle.response_started
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, refusal: _Refusal) -> None:
        """Answer in the envelope where that is still possible, and end the connection."""
        may_answer = self._may_answer()
        exchange = None
        if self._awaiting == _BODY:
            exchange = self.cycle.scope.get(SCOPE_KEY)
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._awaiting = _NOTHING
        if self._timer is not None:
            self._timer.cancel()
        self._look_again_in(LINGER_S)
        if not may_answer:
            self.transport.close()
            return
        if isinstance(exchange, Exchange):
            exchange.status = refusal.status  # the gate logs it
        else:
            exchange = Exchange()
            fields = {"request_id": exchange.request_id, "status": refusal.status}
            _log.info("request", extra={"fields": {**fields, "refused": refusal.code}})
        self.transport.write(_response(refusal, exchange.request_id))
        self.transport.write_eof()


def _response(refusal: _Refusal, request_id: str) -> bytes:
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    body = envelope_of(refusal.message, error_type=kind, code=refusal.code)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        (b"x-request-id", request_id.encode()),
        *SECURITY_HEADERS,
    ]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return STATUS_LINE[refusal.status] + lines + b"\r\n" + body
