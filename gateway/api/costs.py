"""`GET /v1/costs`: the ledger's rows, or sums over them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Annotated, Any, Literal, Protocol

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.api.admission import admit
from gateway.api.exchange import exchange_of
from gateway.core.errors import Forbidden

Row = Mapping[str, Any]
#: `(scenario, **filters)`: what the same traffic would have cost, as one record. It blocks.
WhatIf = Callable[..., Row]

MOST_ROWS = 10_000
_ROWS = 100

# PostgreSQL's text holds no NUL.
_Filter = Annotated[str | None, Query(max_length=256, pattern=r"^[^\x00]*$")]


class CostReader(Protocol):
    """What reads the ledger; its methods block."""

    @property
    def rows(self) -> Callable[..., Sequence[Row]]:
        """`rows(limit=…, **filters)`: the newest rows first."""

    @property
    def batches(self) -> Callable[..., Iterator[Sequence[Row]]]:
        """`batches(limit=…, **filters)`: the same, some at a time."""

    @property
    def summary(self) -> Callable[..., Sequence[Row]]:
        """`summary(by, limit=…, **filters)`: calls, tokens and cost, a row a group."""


async def _filters(
    request: Request,
    since: datetime | None = None,
    until: datetime | None = None,
    key: _Filter = None,
    model: _Filter = None,
    tier: Literal["small", "large"] | None = None,
    tag: Annotated[str | None, Query(max_length=256, pattern=r"^[^\x00]*=[^\x00]*$")] = None,
) -> dict[str, Any]:
    """Which calls are asked for; a virtual key may ask for its own alone, at its rate."""
    exchange = exchange_of(request.scope)
    if not exchange.is_master:
        if key not in {None, exchange.key_id}:
            raise Forbidden("A virtual key sees its own costs alone.", param="key")
        key = exchange.key_id
    await admit(exchange, None)
    filters = {"since": since, "until": until, "key": key, "model": model, "tier": tier}
    return {**filters, "tag": tag}


def costs_routes(reader: CostReader, what_if_record: WhatIf) -> APIRouter:
    """The endpoint over one ledger."""
    router = APIRouter(tags=["costs"])

    # Not a coroutine: reading blocks, so it runs in a thread of the pool.
    @router.get("/v1/costs")
    def costs(
        filters: Annotated[dict[str, Any], Depends(_filters)],
        by: Literal["model", "tier", "key", "tag", "day"] | None = None,
        what_if: Literal["all-large", "all-small", "random"] | None = None,
        limit: Annotated[int | None, Query(ge=1, le=MOST_ROWS)] = None,
        output: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
    ) -> Response:
        """Rows (newest first), with `by` sums, or with `what_if` what other routing would cost.

        Amounts are exact decimal strings. Without `limit` JSON has 100 rows, and CSV every one. A
        virtual key sees its own alone.
        """
        if output == "csv" and by is None and what_if is None:
            batches = iter(reader.batches(limit=limit, **filters))
            # The first one now: what can't be read is still an error with a status of its own.
            first = next(batches, [])
            texts = chain([_csv(first, header=True)], map(_csv, batches))
            return StreamingResponse(texts, media_type="text/csv")
        limit = limit or _ROWS
        found: Sequence[Row]
        if what_if is not None:
            found = [what_if_record(what_if, **filters)]
        elif by is not None:
            found = reader.summary(by, limit=limit, **filters)
        else:
            found = reader.rows(limit=limit, **filters)
        if output == "csv":
            return Response(_csv(found, header=True), media_type="text/csv")
        body = orjson.dumps({"object": "list", "data": found})
        return Response(body, media_type="application/json")

    return router


def _csv(rows: Sequence[Row], *, header: bool = False) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header and rows:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow(
            [orjson.dumps(v).decode() if isinstance(v, dict) else v for v in row.values()]
        )
    return text.getvalue()
