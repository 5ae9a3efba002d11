"""What clients ask of responses that are kept: one, its input, its end."""

from __future__ import annotations

from itertools import dropwhile
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response

from gateway.accounting.response_shelf import ResponseShelf
from gateway.accounting.responses import KeptResponse
from gateway.api.exchange import exchange_of
from gateway.api.responses.asked import RESPONSES, check_included
from gateway.core.errors import InvalidRequest, ResponseNotFound
from gateway.wire.responses_listing import listed_items

_ONE = f"{RESPONSES}/{{response_id}}"


def stored_routes(shelf: ResponseShelf | None) -> APIRouter:
    """The endpoints over the responses that are kept; none is without a shelf."""
    router = APIRouter(tags=["responses"])

    async def found(request: Request, response_id: str) -> KeptResponse:
        key_id = exchange_of(request.scope).key_id
        return await _kept_on(shelf, response_id).find(response_id, key_id)

    @router.get(_ONE)
    async def retrieve_response(
        request: Request, response_id: str, *, stream: bool = False
    ) -> Response:
        """One response as it was answered."""
        if stream:
            raise InvalidRequest(
                "A stored response isn't streamed again; ask without 'stream'.",
                param="stream",
                code="unsupported_value",
            )
        _check_included(request)
        kept = await found(request, response_id)
        return Response(kept.response, media_type="application/json")

    @router.delete(_ONE)
    async def delete_response(request: Request, response_id: str) -> Response:
        """Forget one response; those that build on it can't be gone on from then."""
        key_id = exchange_of(request.scope).key_id
        await _kept_on(shelf, response_id).delete(response_id, key_id)
        return _json({"id": response_id, "object": "response", "deleted": True})

    @router.post(f"{_ONE}/cancel")
    async def cancel_response(request: Request, response_id: str) -> Response:
        """Refused: only a background response could be cancelled, and there are none."""
        await found(request, response_id)
        raise InvalidRequest(
            "Only background responses can be cancelled. To end one that is being answered, close "
            "its connection."
        )

    @router.get(f"{_ONE}/input_items")
    async def list_input_items(
        request: Request,
        response_id: str,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> Response:
        """The items that the response's own request brought, newest first."""
        _check_included(request)
        kept = await found(request, response_id)
        items = listed_items(orjson.loads(kept.input_items), response_id)
        if order == "desc":
            items.reverse()
        return _json(_page(items, limit, after))

    return router


def _kept_on(shelf: ResponseShelf | None, response_id: str) -> ResponseShelf:
    if shelf is None:
        raise ResponseNotFound(
            f"Response with id '{response_id[:64]}' not found: this gateway stores no responses "
            "(responses.store is false)."
        )
    return shelf


def _check_included(request: Request) -> None:
    query = request.query_params
    check_included([*query.getlist("include"), *query.getlist("include[]")])


def _page(items: list[dict[str, Any]], limit: int, after: str | None) -> dict[str, Any]:
    """At most `limit` items behind the one with the id `after`. Raises InvalidRequest."""
    if after is not None:
        items = list(dropwhile(lambda item: item["id"] != after, items))
        if not items:
            raise InvalidRequest("'after' is the id of no input item here.", param="after")
        del items[0]
    page = items[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else "",
        "last_id": page[-1]["id"] if page else "",
        "has_more": len(items) > limit,
    }


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
