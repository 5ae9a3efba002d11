"""`POST /v1/responses`: as a chat through the pipeline, kept before its end is sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from gateway.accounting.response_shelf import ResponseShelf
from gateway.accounting.responses import KeptResponse
from gateway.api.admission import admit
from gateway.api.body import ClientLeft, read_body
from gateway.api.endpoint import Live
from gateway.api.exchange import Exchange, exchange_of
from gateway.api.own_names import own_names
from gateway.api.parse import caller_of
from gateway.api.presence import Presence
from gateway.api.respond import send_answer, send_stream
from gateway.api.responses.answers import ResponseEvents, whole_response
from gateway.api.responses.asked import Asked, parse_responses
from gateway.core.answer import Answer, Item
from gateway.core.errors import GatewayError
from gateway.core.request import Caller
from gateway.pipeline import Reply


class ResponsesEndpoint:
    """Answers requests for responses. Without a shelf none is kept, and none can be gone on from.

    A response is kept once it is whole: one that broke, or whose client left, never is.
    """

    def __init__(self, live: Live, shelf: ResponseShelf | None, body_limit_bytes: int) -> None:
        self._live = live
        self._shelf = shelf
        self._body_limit_bytes = body_limit_bytes
        self._presence = Presence()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; when the client leaves, the work for it ends."""
        exchange = exchange_of(scope)
        try:
            raw = await read_body(scope, receive, self._body_limit_bytes)
            asked = parse_responses(raw, can_store=self._shelf is not None)
            caller = caller_of(scope, exchange)
            work = self._respond(asked, caller, exchange, send)
            await self._presence.while_connected(receive, work)
        except ClientLeft:
            return

    async def _respond(self, asked: Asked, caller: Caller, exchange: Exchange, send: Send) -> None:
        reply = await self._begun(asked, caller, exchange)
        exchange.entry = reply.entry
        first, entry = reply.first, reply.entry
        first.ignored = own_names(first.ignored, "responses") + asked.ignored
        async with aclosing(reply.rest):
            if isinstance(first, Answer) and not asked.body.get("stream"):
                async for _ in reply.rest:  # to its end: the entry is recorded before the answer
                    pass
                response = whole_response(asked, first, entry)
                body = await self._kept(response, asked, caller)
                await send_answer(send, body, first, entry)
                return
            events = ResponseEvents(asked, entry)
            async with aclosing(self._kept_at_end(reply, events, asked, caller)) as rest:
                await send_stream(send, replace(reply, rest=rest), events)

    async def _begun(self, asked: Asked, caller: Caller, exchange: Exchange) -> Reply:
        previous = asked.previous_response_id
        earlier: list[dict[str, Any]] = []
        if previous is not None and self._shelf is not None:
            earlier = await self._shelf.conversation(previous, caller.key_id)
        request = asked.chat_request(earlier)
        await admit(exchange, request)
        try:
            return await self._live.pipeline.answer(request, caller)
        except GatewayError as error:
            asked.rename_param(error)
            raise

    async def _kept_at_end(
        self, reply: Reply, events: ResponseEvents, asked: Asked, caller: Caller
    ) -> AsyncGenerator[Item, None]:
        """The rest of a reply; it ends only once the response is kept."""
        async for item in reply.rest:
            yield item
        await self._kept(events.end(), asked, caller)

    async def _kept(self, response: dict[str, Any], asked: Asked, caller: Caller) -> bytes:
        """The response as JSON once it is kept; it says so where it couldn't be."""
        body = orjson.dumps(response)
        if not asked.keeps or self._shelf is None:
            return body
        kept = KeptResponse(
            response_id=response["id"],
            key_id=caller.key_id,
            previous_response_id=asked.previous_response_id,
            input_items=orjson.dumps(asked.input_items()).decode(),
            response=body.decode(),
        )
        if await self._shelf.keep(kept):
            return body
        response["store"] = False
        return orjson.dumps(response)
