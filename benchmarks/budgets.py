"""What a budget adds to a call: `python -m benchmarks.budgets [--ledger URL]`.

Reservations by one process, alone and 200 at once, beside the bare transaction that each needs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa

from gateway.accounting.access.budgets import Budgets, Need
from gateway.accounting.access.keys import KeyStore
from gateway.accounting.database import open_for_writing
from gateway.core.access import Budget

ALONE = 300
AT_ONCE = 200
ROUNDS = 10


def need(key_id: str, number: int) -> Need:
    return Need(f"req_{number}", 1, key_id, 1, datetime.now(UTC), forced=False)


async def measured(url: str) -> tuple[list[float], list[float], float]:
    """Milliseconds of each reservation alone, of each among 200, and reservations a second."""
    key_id = KeyStore(url).create(f"bench-{time.time_ns()}", budget=Budget(10**12))[0].key.key_id
    budgets = Budgets(url)
    budgets.start()
    started = time.time_ns()

    async def one(number: int) -> float:
        began_s = time.perf_counter()
        assert await budgets.met(need(key_id, started + number)) is None
        return (time.perf_counter() - began_s) * 1e3

    await one(-1)  # opens the database
    alone = [await one(number) for number in range(ALONE)]
    crowd: list[float] = []
    began_s = time.perf_counter()
    for turn in range(ROUNDS):
        numbers = range(ALONE + turn * AT_ONCE, ALONE + (turn + 1) * AT_ONCE)
        crowd += await asyncio.gather(*map(one, numbers))
    rate = ROUNDS * AT_ONCE / (time.perf_counter() - began_s)
    budgets.stop()
    return alone, crowd, rate


def bare(url: str) -> list[float]:
    """Milliseconds of a transaction that updates one row."""
    engine = open_for_writing(url, durable=False)
    statement = sa.text("UPDATE key_changes SET version = version")
    spent = []
    for _ in range(ALONE):
        began_s = time.perf_counter()
        with engine.begin() as connection:
            connection.execute(statement)
        spent.append((time.perf_counter() - began_s) * 1e3)
    engine.dispose()
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ledger", help="a database's address; by default a new SQLite file")
    asked = parser.parse_args().ledger
    with tempfile.TemporaryDirectory() as folder:
        url = asked or f"sqlite:///{folder}/ledger.db"
        alone, crowd, rate = asyncio.run(measured(url))
        floor = statistics.median(bare(url))
    p99: Callable[[list[float]], float] = lambda times: statistics.quantiles(times, n=100)[98]  # noqa: E731
    print(f"a bare transaction             median {floor:.2f} ms")
    print(
        f"a reservation alone            median {statistics.median(alone):.2f} ms, "
        f"p99 {p99(alone):.2f} ms, {statistics.median(alone) / floor:.1f} x the bare one"
    )
    print(
        f"{AT_ONCE} at once                    median {statistics.median(crowd):.2f} ms, "
        f"p99 {p99(crowd):.2f} ms, {rate:,.0f} a second"
    )


if __name__ == "__main__":
    main()
