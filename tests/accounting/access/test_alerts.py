"""A webhook hears of each threshold once, also where whoever had claimed it has died."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gateway.accounting.access.alerts import Alerts
from gateway.accounting.access.keys import KeyStore
from gateway.accounting.access.marks import claim, reached_marks
from gateway.accounting.database import open_for_writing
from gateway.accounting.pricing import pico_of
from gateway.core.access import Budget
from gateway.core.price import Cost
from tests.accounting.ledger_entries import entry, record


class Webhook(ThreadingHTTPServer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def hears(self, count: int) -> list[int]:
        """The percentages that came, once there are so many."""
        deadline_s = time.monotonic() + 20
        while len(self.told) < count:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        return sorted(one["percent"] for one in self.told)


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.told.append(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_each_threshold_is_told_once_between_several(ledger_url: str, webhook: Webhook) -> None:
    budget = Budget(pico_of(Decimal(1)), "month")
    key_id = KeyStore(ledger_url).create("k", budget=budget)[0].key.key_id
    now = datetime.now(UTC)
    record(ledger_url, entry(key_id=key_id, ts=now, cost=Cost(Decimal("0.85"), "computed")))
    engine = open_for_writing(ledger_url, durable=False)
    first, second = reached_marks(engine, ledger_url, (50, 80, 100), now)
    assert (first.percent, second.percent) == (50, 80)
    # Its process dies now; and another one tells of it a moment later.
    assert claim(engine, first, now, now + timedelta(seconds=0.3))
    assert not claim(engine, first, now, now + timedelta(seconds=0.3))
    several = [Alerts(ledger_url, webhook.url, (50, 80, 100), look_every_s=0.05) for _ in range(3)]
    for one in several:
        one.start()
    assert webhook.hears(2) == [50, 80]
    time.sleep(0.3)
    assert webhook.hears(2) == [50, 80]
    assert {one["spent_usd"] for one in webhook.told} == {"0.85"}
    for one in several:
        one.stop()
    assert list(reached_marks(engine, ledger_url, (50, 80, 100), now)) == []
    engine.dispose()
