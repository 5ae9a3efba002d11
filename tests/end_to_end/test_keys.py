"""Virtual keys as clients and their owners know them; the vendor simulator is both tiers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.accounting.access.budget_reader import BudgetReader
from gateway.accounting.access.keys import KeyStore
from gateway.accounting.pricing import pico_of
from gateway.accounting.query import LedgerReader
from gateway.core.access import Budget, Over, Period
from tests.gateway_process import RunningGateway, run_cli, running_gateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

CHAT = "/v1/chat/completions"
MASTER = {"authorization": "Bearer sk-master"}
PRICES = {"large": {"input": 0, "output": 10}, "small": {"input": 0, "output": 1}}
#: What one answer costs when it is as long as it may be: 10 tokens at 10 USD a million.
DEAREST_USD = Decimal("0.0001")


class Webhook(BaseHTTPRequestHandler):
    """Keeps what it is told; fails at first."""

    told: list[dict[str, Any]]
    failures = 1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        fails = type(self).failures > 0
        type(self).failures -= fails
        if not fails:
            self.told.append(body)
        self.send_response(503 if fails else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def webhook() -> Iterator[str]:
    Webhook.told = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook?token=secret"
    server.shutdown()
    server.server_close()


def config_for(vendor: RunningVendor) -> dict[str, Any]:
    tiers = [
        {
            "name": tier,
            "tier": tier,
            "backend": "openai",
            "model": tier,
            "base_url": vendor.base_url,
            "price": price,
            "retries": 0,
        }
        for tier, price in PRICES.items()
    ]
    free = {**tiers[0], "name": "unpriced", "model": "unpriced", "price": None}
    vectors = {**tiers[0], "name": "vectors", "model": "vectors", "serves": "embeddings"}
    return {"deployments": [*tiers, free, vectors], "routing": {"threshold": 0.0}}


@pytest.fixture(scope="module")
def serving(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory, webhook: str
) -> Iterator[RunningGateway]:
    folder: Path = tmp_path_factory.mktemp("keys")
    env = {"GATEWAY_API_KEYS": "sk-master", "GATEWAY_ALERTS_URL": webhook}
    config = config_for(vendor_server)
    with running_gateway(folder, config, env=env, arguments=("--workers", "2")) as gateway:
        yield gateway


@pytest.fixture
def gateway(serving: RunningGateway, vendor: RunningVendor) -> RunningGateway:
    used = {"prompt_tokens": 1, "completion_tokens": 10, "total_tokens": 11}
    vendor.always(Behaviour(text="a b c", usage=used))
    return serving


def keys(gateway: RunningGateway, *arguments: str) -> dict[str, Any]:
    told = json.loads(run_cli("keys", *arguments, "--config", gateway.config, "--format", "json"))
    first: dict[str, Any] = told[0]
    return first


def ledger_of(gateway: RunningGateway) -> str:
    return f"sqlite:///{gateway.config.parent}/ledger.db"


def made(gateway: RunningGateway, name: str, **limits: Any) -> dict[str, Any]:
    record, secret = KeyStore(ledger_of(gateway)).create(name, **limits)
    return {"id": record.key.key_id, "key": secret}


def usd(amount: Decimal, period: Period = "day", over: Over = "refuse") -> Budget:
    return Budget(pico_of(amount), period, over)


def rows_of(gateway: RunningGateway, key: dict[str, Any], expected: int) -> list[dict[str, Any]]:
    """A key's rows, once there are as many as expected."""
    deadline_s = time.monotonic() + 10
    while True:
        rows = LedgerReader(ledger_of(gateway)).rows(key=key["id"])
        if len(rows) >= expected:
            return rows
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {key['key']}"}


def ask(gateway: RunningGateway, key: dict[str, Any], **fields: Any) -> httpx.Response:
    body = {"model": "large", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}
    return httpx.post(gateway.url + CHAT, json={**body, **fields}, headers=bearer(key), timeout=30)


def spent(gateway: RunningGateway, key: dict[str, Any]) -> Decimal:
    rows = rows_of(gateway, key, 0)
    return sum((Decimal(row["cost_usd"] or 0) for row in rows), Decimal(0))


def budget_of(gateway: RunningGateway, key: dict[str, Any], **wanted: str) -> dict[str, Any]:
    """What `budget` shows of a key, once it is as wanted."""
    deadline_s = time.monotonic() + 10
    while True:
        shown = BudgetReader(ledger_of(gateway)).budgets()
        found: dict[str, Any] = next(one for one in shown if one["key_id"] == key["id"])
        if wanted.items() <= found.items() or time.monotonic() > deadline_s:
            assert wanted.items() <= found.items()
            return found
        time.sleep(0.05)


def until(gateway: RunningGateway, key: dict[str, Any], status: int) -> None:
    """Both workers know of a change within a second; ask until the news has come."""
    deadline_s = time.monotonic() + 5
    in_a_row = 0
    while in_a_row < 8:
        assert time.monotonic() < deadline_s
        answer = httpx.get(f"{gateway.base_url}/models", headers=bearer(key))
        in_a_row = in_a_row + 1 if answer.status_code == status else 0


def test_a_key_works_at_once_and_ends_within_seconds(gateway: RunningGateway) -> None:
    key = keys(gateway, "create", "--name", "ends")
    assert ask(gateway, key).status_code == 200
    stored = (gateway.config.parent / "ledger.db").read_bytes()
    assert key["key"].encode() not in stored
    assert key["key"] not in gateway.log.read_text()
    another = keys(gateway, "rotate", "ends")
    assert another["id"] == key["id"]
    until(gateway, key, 401)
    until(gateway, another, 200)
    keys(gateway, "revoke", "ends")
    until(gateway, another, 401)


def test_a_key_may_use_and_see_its_own_alone(gateway: RunningGateway) -> None:
    key = made(gateway, "narrow", models=frozenset({"auto", "small"}))
    answer = ask(gateway, key, model="large")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "model_not_found"
    assert ask(gateway, key, model="auto").status_code == 200
    listed = httpx.get(f"{gateway.base_url}/models", headers=bearer(key)).json()["data"]
    assert {one["id"].partition(":")[0] for one in listed} == {"auto", "small"}
    other = made(gateway, "other")
    assert ask(gateway, other).status_code == 200
    rows_of(gateway, other, 1)
    costs = f"{gateway.base_url}/costs"
    rows = httpx.get(costs, headers=bearer(other)).json()["data"]
    assert {row["key_id"] for row in rows} == {other["id"]}
    assert httpx.get(f"{costs}?key={key['id']}", headers=bearer(other)).status_code == 403
    seen = httpx.get(f"{costs}?by=key", headers=MASTER).json()["data"]
    assert {key["id"], other["id"]} <= {row["key"] for row in seen}
    assert httpx.get(f"{gateway.url}/metrics", headers=bearer(other)).status_code == 403


def test_a_stored_response_is_its_own_keys(gateway: RunningGateway) -> None:
    mine, theirs = made(gateway, "mine"), made(gateway, "theirs")
    url = f"{gateway.base_url}/responses"
    body = {"model": "large", "input": "Hi"}
    kept = httpx.post(url, json=body, headers=bearer(mine)).json()["id"]
    assert httpx.get(f"{url}/{kept}", headers=bearer(mine)).status_code == 200
    assert httpx.get(f"{url}/{kept}", headers=bearer(theirs)).status_code == 404


def test_a_budget_ends_calls_of_every_kind(gateway: RunningGateway) -> None:
    key = made(gateway, "poor", budget=usd(3 * DEAREST_USD))
    for _ in range(3):
        assert ask(gateway, key).status_code == 200
        rows_of(gateway, key, 1)
    budget_of(gateway, key, reserved_usd="0", spent_usd="0.0003")
    refused = ask(gateway, key)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert "begins anew at" in error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["retry-after"]) > 0
    messages = [{"role": "user", "content": "Hi"}]
    for path, body in {
        "/completions": {"model": "large", "prompt": "Hi"},
        "/responses": {"model": "large", "input": "Hi"},
        "/messages": {"model": "large", "messages": messages, "max_tokens": 10},
    }.items():
        answer = httpx.post(gateway.base_url + path, json=body, headers=bearer(key))
        assert answer.status_code == 429, path
        if path == "/messages":
            assert answer.json()["error"]["type"] == "rate_limit_error"
    assert spent(gateway, key) == 3 * DEAREST_USD
    budget_of(gateway, key, state="exhausted")


def test_what_nobody_can_price_is_refused(gateway: RunningGateway) -> None:
    key = made(gateway, "careful", budget=usd(Decimal(1), "total"))
    answer = ask(gateway, key, model="unpriced")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "price_unknown")
    moderation = {"model": "omni-moderation", "input": "Hi"}
    url = f"{gateway.base_url}/moderations"
    answer = httpx.post(url, json=moderation, headers=bearer(key))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "price_unknown")
    vectors = {"model": "vectors", "input": "Hi"}
    url = f"{gateway.base_url}/embeddings"
    assert httpx.post(url, json=vectors, headers=bearer(key)).status_code == 200


def test_beyond_a_degrading_budget_the_small_tier_answers(gateway: RunningGateway) -> None:
    key = made(gateway, "patient", budget=usd(DEAREST_USD, "total", "degrade"))
    assert ask(gateway, key, model="auto").headers["x-gateway-tier"] == "large"
    for stream in (False, True):
        answer = ask(gateway, key, model="auto", stream=stream)
        told = [answer.headers[f"x-gateway-{name}"] for name in ("tier", "reason")]
        assert (answer.status_code, told) == (200, ["small", "budget"])
    rows = rows_of(gateway, key, 3)
    assert [row["reason"] for row in rows].count("budget") == 2
    budget_of(gateway, key, state="degraded")


def test_what_isnt_used_is_given_back(gateway: RunningGateway, vendor: RunningVendor) -> None:
    key = made(gateway, "unlucky", budget=usd(DEAREST_USD))
    vendor.will(Behaviour(status=503))
    assert ask(gateway, key).status_code == 503
    rows_of(gateway, key, 1)
    budget_of(gateway, key, reserved_usd="0", spent_usd="0")
    vendor.will(Behaviour(chunks=50, chunk_delay_s=0.05))
    body = {"model": "large", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with httpx.stream(
        "POST", gateway.url + CHAT, json={**body, "max_tokens": 10}, headers=bearer(key)
    ) as answer:
        next(answer.iter_raw())
        assert ask(gateway, key).status_code == 429, "the budget is reserved meanwhile"
    rows_of(gateway, key, 2)
    shown = budget_of(gateway, key, reserved_usd="0")
    assert Decimal(shown["spent_usd"]) < DEAREST_USD


def test_requests_a_minute_are_told_and_held(gateway: RunningGateway) -> None:
    key = made(gateway, "slow", rpm=2, tpm=1000)
    with httpx.Client(headers=bearer(key)) as client:  # one connection is one worker
        body = {"model": "large", "messages": [{"role": "user", "content": "Hi"}]}
        first = client.post(gateway.url + CHAT, json=body)
        assert first.status_code == 200
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-limit-tokens"] == "1000"
        large = client.post(gateway.url + CHAT, json={**body, "max_tokens": 2000})
        assert (large.status_code, large.headers["x-should-retry"]) == (429, "false")
        refused = client.post(gateway.url + CHAT, json=body)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


def test_the_gateways_own_work_counts_too(gateway: RunningGateway) -> None:
    key = made(gateway, "curious", rpm=3)
    body = {"model": "large", "messages": [{"role": "user", "content": "Hi"}]}
    with httpx.Client(base_url=gateway.url, headers=bearer(key)) as client:
        asked = [
            client.post("/v1/route", json=body),
            client.post("/v1/messages/count_tokens", json=body),
            client.get("/v1/costs", params={"what_if": "random"}),
        ]
        refused = client.get("/v1/costs")
    assert [one.status_code for one in asked] == [200, 200, 200]
    left = [one.headers["x-ratelimit-remaining-requests"] for one in asked]
    assert left == ["2", "1", "0"]
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")


def test_a_webhook_hears_of_each_threshold_once(gateway: RunningGateway) -> None:
    key = made(gateway, "watched", budget=usd(2 * DEAREST_USD))
    for _ in range(2):
        assert ask(gateway, key).status_code == 200
    assert ask(gateway, key).status_code == 429
    deadline_s = time.monotonic() + 30
    while sum(one["key_id"] == key["id"] for one in Webhook.told) < 3:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    time.sleep(2.5)  # both workers have looked again
    told = [one for one in Webhook.told if one["key_id"] == key["id"]]
    assert sorted(one["percent"] for one in told) == [50, 80, 100]
    assert {one["budget_usd"] for one in told} == {"0.0002"}
    assert "secret" not in gateway.log.read_text()
