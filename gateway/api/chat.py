"""`POST /v1/chat/completions`: the hot path, plain ASGI."""

from __future__ import annotations

from contextlib import aclosing
from typing import Protocol

from starlette.types import Receive, Scope, Send

from gateway.api.body import ClientLeft, read_body
from gateway.api.exchange import Exchange, exchange_of
from gateway.api.parse import caller_of, parse_chat
from gateway.api.presence import Presence
from gateway.api.respond import send_answer, send_stream
from gateway.core.answer import Answer
from gateway.core.request import Caller, ChatRequest
from gateway.pipeline import Pipeline


class Live(Protocol):
    """What holds the pipeline; a reload of the configuration puts another one there."""

    @property
    def pipeline(self) -> Pipeline:
        """The one for a request that begins now."""


class ChatCompletions:
    """Parse, let the pipeline decide, call and account, respond."""

    def __init__(self, live: Live, body_limit_bytes: int) -> None:
        self._live = live
        self._body_limit_bytes = body_limit_bytes
        self._presence = Presence()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; when the client leaves, the work for it ends."""
        exchange = exchange_of(scope)
        try:
            body = await read_body(scope, receive, self._body_limit_bytes)
            request = parse_chat(body)
            caller = caller_of(scope, exchange)
            await self._presence.while_connected(
                receive, self._answer(request, caller, exchange, send)
            )
        except ClientLeft:
            return

    async def _answer(
        self, request: ChatRequest, caller: Caller, exchange: Exchange, send: Send
    ) -> None:
        reply = await self._live.pipeline.answer(request, caller)
        exchange.entry = reply.entry
        async with aclosing(reply.rest):
            if isinstance(reply.first, Answer) and not request.stream:
                async for _ in reply.rest:  # to its end: the entry is recorded before the answer
                    pass
                await send_answer(send, reply.first, reply.entry)
            else:
                await send_stream(send, request, reply)
