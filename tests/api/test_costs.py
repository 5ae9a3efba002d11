"""`GET /v1/costs` over a ledger that a real writer filled."""

import csv
import io
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from gateway.accounting.query import LedgerReader
from gateway.api.costs import costs_routes
from gateway.api.exchange import SCOPE_KEY, Exchange
from gateway.core.errors import LedgerUnavailable
from tests.accounting.ledger_entries import NOON, entry, record

ROWS = 2100  # more than a batch


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    address = f"sqlite:///{tmp_path_factory.mktemp('costs')}/ledger.db"
    record(
        address,
        *(
            entry(request_id=f"r{n:04}", ts=NOON + timedelta(seconds=n), tags={"team": "a"})
            for n in range(ROWS)
        ),
    )
    return address


async def got(url: str, **query: str | int) -> httpx.Response:
    app = FastAPI()
    app.include_router(costs_routes(LedgerReader(url), lambda kind, filters: {}))

    async def admitted(scope: Scope, receive: Receive, send: Send) -> None:
        scope[SCOPE_KEY] = Exchange()
        await app(scope, receive, send)

    transport = httpx.ASGITransport(admitted)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.get("/v1/costs", params=query)


async def test_csv_has_every_row_under_one_header(url: str) -> None:
    response = await got(url, format="csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["request_id"] for row in rows] == [f"r{n:04}" for n in reversed(range(ROWS))]
    assert {row["tags"] for row in rows} == {'{"team":"a"}'}
    assert response.headers["content-type"].startswith("text/csv")
    assert len((await got(url, format="csv", limit=3)).text.splitlines()) == 4


async def test_json_has_a_hundred_rows_unless_more_are_asked_for(url: str) -> None:
    assert len((await got(url)).json()["data"]) == 100
    assert len((await got(url, limit=150)).json()["data"]) == 150


async def test_sums_tell_energy(url: str) -> None:
    (group,) = (await got(url, by="tag")).json()["data"]
    assert (group["tag"], group["calls"], group["energy_wh"]) == ("team=a", ROWS, None)
    assert (await got(url, by="tag", format="csv")).text.splitlines()[1].startswith("team=a,2100,")


async def test_what_cannot_be_read_fails_before_the_first_byte(tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_text("not a database, " * 100)
    with pytest.raises(LedgerUnavailable):
        await got(f"sqlite:///{broken}", format="csv")
