"""`POST /v1/messages/count_tokens`: how long a prompt is for the model that would answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import orjson
from fastapi import APIRouter, Request, Response

from gateway.api.admission import admit
from gateway.api.anthropic_errors import ANTHROPIC_PATH
from gateway.api.body import read_body
from gateway.api.exchange import exchange_of
from gateway.api.messages import COUNTED_FIELDS, request_of
from gateway.api.parse import caller_of, checked, parse_object
from gateway.core.request import Caller, ChatRequest
from gateway.core.usage import UsageSource

COUNT_TOKENS = f"{ANTHROPIC_PATH}/count_tokens"


@dataclass(slots=True, frozen=True)
class PromptLength:
    """Tokens of a prompt, for which deployment, and who says so."""

    tokens: int
    deployment: str
    source: UsageSource


class PromptMeasurer(Protocol):
    """What counts the tokens of prompts."""

    async def prompt_length(self, request: ChatRequest, caller: Caller) -> PromptLength:
        """The length for the deployment that the request would go to. Raises GatewayError."""


def count_tokens_routes(measurer: PromptMeasurer, body_limit_bytes: int) -> APIRouter:
    """The endpoint over one measurer."""
    router = APIRouter(tags=["messages"])

    @router.post(COUNT_TOKENS)
    async def count_tokens(request: Request) -> Response:
        """Count a prompt's tokens; nothing is generated, and no row is written."""
        body = await read_body(request.scope, request.receive, body_limit_bytes)
        payload = parse_object(body)
        checked(COUNTED_FIELDS, payload)
        exchange = exchange_of(request.scope)
        chat, caller = request_of(body, payload), caller_of(request.scope, exchange)
        await admit(exchange, None)
        length = await measurer.prompt_length(chat, caller)
        return Response(
            orjson.dumps({"input_tokens": length.tokens}),
            media_type="application/json",
            headers={
                "x-gateway-model": length.deployment,
                "x-gateway-usage-source": length.source,
            },
        )

    return router
