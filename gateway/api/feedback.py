"""`POST /v1/feedback`: how good an answer was, for calibration and training."""

from __future__ import annotations

import asyncio
from typing import Annotated, NotRequired, Protocol

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from gateway.api.body import read_body
from gateway.api.exchange import exchange_of
from gateway.api.parse import checked, parse_object
from gateway.core.errors import RequestNotFound

LONGEST_COMMENT = 4_000

#: A row is in the database within the flush interval and one write; feedback may come sooner.
_WAITS_S = (0.2, 0.4, 0.8)


class FeedbackTaker(Protocol):
    """What keeps feedback; its method blocks."""

    def add(self, request_id: str, score: float, comment: str | None, key_id: str | None) -> None:
        """Keep it. Raises RequestNotFound or LedgerUnavailable."""


@with_config(ConfigDict(extra="ignore", strict=True))
class _Feedback(TypedDict):
    request_id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    comment: NotRequired[
        Annotated[str, Field(max_length=LONGEST_COMMENT, pattern=r"^[^\x00]*$")] | None
    ]


FEEDBACK_FIELDS: TypeAdapter[_Feedback] = TypeAdapter(_Feedback)


async def _take(taker: FeedbackTaker, given: _Feedback, key_id: str | None) -> None:
    await run_in_threadpool(
        taker.add, given["request_id"], given["score"], given.get("comment"), key_id
    )


def feedback_routes(taker: FeedbackTaker, body_limit_bytes: int) -> APIRouter:
    """The endpoint over what keeps feedback."""
    router = APIRouter(tags=["routing"])

    @router.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        """Keep a score from 0 (useless) to 1 (right) for one request; the newest counts."""
        body = await read_body(request.scope, request.receive, body_limit_bytes)
        given = checked(FEEDBACK_FIELDS, parse_object(body))
        key_id = exchange_of(request.scope).key_id
        for wait_s in _WAITS_S:
            try:
                await _take(taker, given, key_id)
                break
            except RequestNotFound:
                await asyncio.sleep(wait_s)
        else:
            await _take(taker, given, key_id)
        answer = {"object": "feedback", **given}
        return Response(orjson.dumps(answer), 201, media_type="application/json")

    return router
