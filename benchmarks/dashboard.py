"""`python -m benchmarks.dashboard URL`: what the dashboard reads of a ledger, and how long that is.

Beside it stands what the same figures would take from the rows themselves: one sum over all of
them. `benchmarks.ledger` writes a large ledger to try it on.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa

from gateway.accounting.database import ledger
from gateway.accounting.overview import Overview
from gateway.accounting.projection import groups_of, saving_of
from gateway.accounting.query import LedgerReader
from gateway.accounting.recent import attempts_of, latest_requests
from gateway.core.deployment import Tier
from gateway.core.price import Price

ROUNDS = 11
PRICES = {
    Tier.SMALL: Price("small", Decimal("0.15"), Decimal("0.6")),
    Tier.LARGE: Price("large", Decimal("2.5"), Decimal(10)),
}


def timed(read: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median milliseconds on the clock, and of the processor."""
    clock, processor = [], []
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        read()
        clock.append((time.perf_counter() - started) * 1e3)
        processor.append((time.process_time() - used) * 1e3)
    return statistics.median(clock), statistics.median(processor)


def figures(reader: LedgerReader, until: datetime, days: int) -> None:
    """All that one answer of `/dashboard/figures` reads and computes."""
    overview = Overview(reader)
    since = until - timedelta(days=days)
    overview.spend(since, until, "hour" if days == 1 else "day")
    overview.latency(since, until)
    later = overview.later_attempts(since, until)
    saving_of(groups_of(overview.scores(since, until), PRICES), later)


def summed_rows(reader: LedgerReader) -> None:
    sums = sa.select(ledger.c.tier, sa.func.count(), sa.func.sum(ledger.c.prompt_tokens))
    with reader.connection() as connection:
        assert connection is not None
        connection.execute(sums.group_by(ledger.c.tier)).all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the ledger's database, such as sqlite:///gateway.db")
    reader = LedgerReader(parser.parse_args().url)
    newest = reader.rows(limit=1)[0]
    until = datetime.fromisoformat(newest["ts"]).astimezone(UTC) + timedelta(hours=1)
    reads: dict[str, Callable[[], object]] = {
        "figures, 24 hours": lambda: figures(reader, until, 1),
        "figures, 7 days": lambda: figures(reader, until, 7),
        "figures, 90 days": lambda: figures(reader, until, 90),
        "latest requests": lambda: latest_requests(reader, 50),
        "one request's attempts": lambda: attempts_of(reader, newest["request_id"]),
    }
    clock, processor = timed(lambda: summed_rows(reader), 3)
    print("| read | ms | ms of the processor | part of the sum over rows |\n|---|---|---|---|")
    print(f"| one sum over all rows | {clock:.0f} | {processor:.0f} | 1 |")
    for name, read in reads.items():
        ms, used = timed(read)
        print(f"| {name} | {ms:.0f} | {used:.0f} | {used / processor:.3f} |")


if __name__ == "__main__":
    main()
