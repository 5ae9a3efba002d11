"""From a request's bytes to its answer, whichever wire format the client speaks."""

from __future__ import annotations

from contextlib import aclosing
from typing import Protocol

from starlette.types import Receive, Scope, Send

from gateway.api.admission import admit
from gateway.api.body import ClientLeft, read_body
from gateway.api.exchange import Exchange, exchange_of
from gateway.api.own_names import own_names
from gateway.api.parse import caller_of
from gateway.api.presence import Presence
from gateway.api.respond import EventStream, send_answer, send_stream
from gateway.core.answer import Answer
from gateway.core.entry import LedgerEntry
from gateway.core.request import Caller, ChatRequest
from gateway.pipeline import Pipeline


class Live(Protocol):
    """What holds the pipeline; a reload of the configuration puts another one there."""

    @property
    def pipeline(self) -> Pipeline:
        """The one for a request that begins now."""


class WireFormat(Protocol):
    """How one API writes requests, answers and streams."""

    def parse(self, body: bytes) -> ChatRequest:
        """Check a body and translate it. Raises InvalidRequest naming the field at fault."""

    def answer(self, request: ChatRequest, answer: Answer, entry: LedgerEntry) -> bytes:
        """The whole answer with its cost."""

    def stream(self, request: ChatRequest, entry: LedgerEntry) -> EventStream:
        """What writes the events of one streamed answer."""


class Endpoint:
    """Parse, let the pipeline decide, call and account, respond: the hot path, plain ASGI."""

    def __init__(self, live: Live, wire_format: WireFormat, body_limit_bytes: int) -> None:
        self._live = live
        self._format = wire_format
        self._body_limit_bytes = body_limit_bytes
        self._presence = Presence()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; when the client leaves, the work for it ends."""
        exchange = exchange_of(scope)
        try:
            body = await read_body(scope, receive, self._body_limit_bytes)
            request = self._format.parse(body)
            caller = caller_of(scope, exchange)
            await admit(exchange, request)
            await self._presence.while_connected(
                receive, self._answer(request, caller, exchange, send)
            )
        except ClientLeft:
            return

    async def _answer(
        self, request: ChatRequest, caller: Caller, exchange: Exchange, send: Send
    ) -> None:
        reply = await self._live.pipeline.answer(request, caller)
        entry = exchange.entry = reply.entry
        first = reply.first
        if first.ignored:
            first.ignored = own_names(first.ignored, request.wire, request.native)
        async with aclosing(reply.rest):
            if isinstance(first, Answer) and not request.stream:
                async for _ in reply.rest:  # to its end: the entry is recorded before the answer
                    pass
                body = self._format.answer(request, first, entry)
                await send_answer(send, body, first, entry)
            else:
                await send_stream(send, reply, self._format.stream(request, entry))
