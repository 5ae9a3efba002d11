"""How quick and how small is the ledger? `python -m benchmarks.ledger [--rows 1000000]`.

Entries go through the real `Ledger`, out of an event loop as in the gateway, into SQLite and into a
PostgreSQL that is started for it (with fsync). Beside each figure stands a limit that was measured
in the same run: a bare `executemany` of the same rows into a table that has only its primary key,
and a `SELECT` by primary key.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import sqlalchemy as sa
from rich.console import Console

from benchmarks.report import table
from gateway.accounting.database import ledger as ledger_table
from gateway.accounting.database import open_for_writing
from gateway.accounting.ledger import Ledger
from gateway.accounting.overview import Overview
from gateway.accounting.query import LedgerReader
from gateway.accounting.row import row_of
from gateway.accounting.writing import delete_before
from gateway.core.entry import LedgerEntry
from gateway.core.price import Cost
from gateway.core.usage import Usage
from tests.servers.postgres import own_postgres

DAYS = 90
#: The bare insert is timed on so many rows, in commits as large as the ledger's.
_BARE_ROWS = 50_000
_BATCH = 500
_REPEATS = 9
#: Entries are made before the clock starts; as many a stretch.
_MADE_AT_ONCE = 20_000
#: Rows that wait in memory before the producer pauses: less than the ledger's own queue.
_MOST_WAITING = 5000

_DEPLOYMENTS = (
    ("smollm2", "small", "smollm2-135m-instruct", 60),
    ("gpt-4o", "large", "gpt-4o-2024-08-06", 30),
    ("claude", "large", "claude-sonnet-4-5", 10),
)
_RARE = ("o3", "large", "o3-2025-04-16")
_RARE_EVERY = 20_000


@dataclass(slots=True, frozen=True)
class Timed:
    """Milliseconds of a question that was asked several times."""

    median: float
    best: float

    @classmethod
    def of(cls, question: Callable[[], Any], *, repeats: int = _REPEATS) -> Timed:
        """Ask once to warm up, then measure."""
        times_ms = []
        question()
        for _ in range(repeats):
            started_s = time.perf_counter()
            question()
            times_ms.append((time.perf_counter() - started_s) * 1000)
        return cls(statistics.median(times_ms), min(times_ms))


@dataclass(slots=True)
class Measured:
    """One database. The loop's lag is its 99th percentile."""

    rows_per_s: float = 0.0
    best_rows_per_s: float = 0.0
    bare_rows_per_s: float = 0.0
    cpu_us_per_row: float = 0.0
    lag_ms: float = 0.0
    row_bytes: dict[str, float] = field(default_factory=dict)
    queries: dict[str, Timed] = field(default_factory=dict)


def entries(count: int, end: datetime) -> Iterator[LedgerEntry]:
    """Traffic of 90 days: 3 deployments and a rare one, 20 keys and a rare one, three tags."""
    chance = random.Random(1)
    pools = [_calls(chance) for _ in range(4999)]
    start, step = end - timedelta(days=DAYS), timedelta(days=DAYS) / count
    for place in range(count):
        call = pools[place % len(pools)]
        ts = start + place * step
        own: dict[str, Any] = {"key_id": call["key_id"], "tags": call["tags"]}
        if place % 10 == 0:
            own["tags"] = {**call["tags"], "user": f"{place:08}"}
        if place % _RARE_EVERY == _RARE_EVERY // 2:
            own.update(zip(("deployment", "tier", "model_served"), _RARE, strict=True))
            own["key_id"] = "key_rare"
        # As the gateway makes them: milliseconds, then chance.
        number = int(ts.timestamp() * 1000) << 80 | chance.getrandbits(80)
        yield LedgerEntry(**{**call, **own}, request_id=f"req_{number:032x}", ts=ts)


def _calls(chance: random.Random) -> dict[str, Any]:
    """What one call is like, but for its time, its id and its user."""
    weights = [weight for *_, weight in _DEPLOYMENTS]
    deployment, tier, model = chance.choices(_DEPLOYMENTS, weights)[0][:3]
    is_small = tier == "small"
    prompt, completion = chance.randrange(20, 4000), chance.randrange(5, 800)
    return {
        "attempt": 1,
        "endpoint": "/v1/chat/completions",
        "model_requested": "auto",
        "deployment": deployment,
        "tier": tier,
        "reason": "below_threshold" if is_small else "above_threshold",
        "router_version": "c7e1a0b2",
        "stream": chance.random() < 0.5,
        "key_id": f"key_{chance.randrange(20):012x}",
        "session": f"{chance.getrandbits(64):016x}",
        "model_served": model,
        "score": chance.random() * 0.5 + (0.0 if is_small else 0.5),
        "threshold": 0.5,
        "policy": "balanced",
        "outcome": "ok",
        "status": 200,
        "usage": Usage(prompt, completion),
        "cost": Cost(Decimal(prompt * 25 + completion * 100).scaleb(-7), "computed", "genai:x"),
        "energy_wh": 0.01 if is_small else None,
        "energy_source": "measured" if is_small else None,
        "latency_ms": chance.lognormvariate(6.5, 0.7),
        "ttft_ms": chance.lognormvariate(5, 0.6),
        "overhead_ms": 1.25,
        "tags": {"team": f"team-{chance.randrange(30)}", "env": chance.choice(("prod", "dev"))},
    }


async def write(url: str, count: int, end: datetime, measured: Measured) -> None:
    """Put every entry, and wait until all are in the database."""
    ledger = Ledger(url)
    ledger.start()
    while ledger.not_ready() is not None:
        await asyncio.sleep(0.01)
    late_ms: list[float] = []
    watch = asyncio.create_task(_watch(late_ms))
    made, done, taken_s, cpu_s = entries(count, end), 0, 0.0, 0.0
    while some := list(islice(made, _MADE_AT_ONCE)):
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        for place, one in enumerate(some, done):
            ledger.put(one)
            if place % 100 == 99:
                await asyncio.sleep(0)
                while place - ledger.written - ledger.spooled_rows > _MOST_WAITING:
                    await asyncio.sleep(0.005)
        done += len(some)
        while ledger.written < done and not ledger.dropped:
            await asyncio.sleep(0.005)
        taken_s += time.perf_counter() - started_s
        cpu_s += time.process_time() - started_cpu_s
        measured.best_rows_per_s = max(
            measured.best_rows_per_s, len(some) / (time.perf_counter() - started_s)
        )
    measured.rows_per_s, measured.cpu_us_per_row = count / taken_s, cpu_s / count * 1e6
    watch.cancel()
    measured.lag_ms = statistics.quantiles(late_ms, n=100)[98]
    await asyncio.to_thread(ledger.stop)
    if ledger.dropped:
        raise SystemExit(f"{ledger.dropped} rows were lost")


async def _watch(late_ms: list[float]) -> None:
    while True:
        due_s = time.perf_counter() + 0.005
        await asyncio.sleep(0.005)
        late_ms.append((time.perf_counter() - due_s) * 1000)


def bare_rows_per_s(url: str, count: int, end: datetime) -> float:
    """The driver's `executemany`, of rows that are made already, into a table without indexes."""
    engine = open_for_writing(url, durable=False)
    names = [str(column.name) for column in ledger_table.columns]
    rows = [tuple(row_of(one)[name] for name in names) for one in entries(count, end)]
    mark = "?" if engine.dialect.name == "sqlite" else "%s"
    marks = ", ".join([mark] * len(names))
    with engine.begin() as connection:
        copied = "CREATE TABLE bare AS SELECT * FROM ledger LIMIT 0"
        connection.exec_driver_sql(copied)
        connection.exec_driver_sql("CREATE UNIQUE INDEX bare_key ON bare (request_id, attempt)")
    started_s = time.perf_counter()
    for first in range(0, count, _BATCH):
        with engine.begin() as connection:
            insert = f"INSERT INTO bare ({', '.join(names)}) VALUES ({marks})"
            connection.exec_driver_sql(insert, rows[first : first + _BATCH])
    taken_s = time.perf_counter() - started_s
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE bare")
    engine.dispose()
    return count / taken_s


def bytes_a_row(url: str, count: int) -> dict[str, float]:
    """What the rows take on disk with their indexes, and what everything takes."""
    engine = open_for_writing(url, durable=False)
    names = ("ledger", "ledger_tags")
    totals = ("daily_totals", "daily_tag_totals", "daily_tag_key_totals", "call_totals")
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            sizes = ("page_count", "page_size")
            pages, size = (connection.exec_driver_sql(f"PRAGMA {n}").scalar_one() for n in sizes)
            found = {"everything": pages * size / count}
        else:
            one = "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) name"
            parts = {"rows and indexes": names, "sums": (*totals, "score_totals")}
            found = {
                part: float(connection.exec_driver_sql(one, (list(tables),)).scalar_one()) / count
                for part, tables in parts.items()
            }
            found["everything"] = sum(found.values())
    engine.dispose()
    return found


def read(url: str, count: int, end: datetime) -> dict[str, Timed]:
    """Each question's milliseconds, the connection to the database included."""
    reader = LedgerReader(url)
    overview = Overview(reader)
    month, ever = (end - timedelta(days=30), end), (end - timedelta(days=DAYS), end)
    (row,) = reader.rows(limit=1)
    user = reader.rows(tag=f"user={count // 20 * 10:08}", limit=1)
    if len(user) != 1:
        raise SystemExit("the rare tag has no row")
    questions: dict[str, Callable[[], Any]] = {
        "one row by primary key": lambda: _by_primary_key(reader, row["request_id"]),
        "last 100 rows": reader.rows,
        "last 100 rows of a key": lambda: reader.rows(key=row["key_id"]),
        "last 100 rows of a rare key": lambda: reader.rows(key="key_rare"),
        "last 100 rows of a model": lambda: reader.rows(model="claude"),
        "last 100 rows of a rare model": lambda: reader.rows(model="o3-2025-04-16"),
        "last 100 rows of a tier": lambda: reader.rows(tier="small"),
        "last 100 rows of a tag": lambda: reader.rows(tag="team=team-7"),
        "last 100 rows of a rare tag": lambda: reader.rows(tag=f"user={count // 20 * 10:08}"),
        **{f"summary by {by}": _summary(reader, by) for by in _GROUPS},
        "summary by tag, the 100 dearest": lambda: reader.summary("tag", limit=100),
        "summary by model of a tag": lambda: reader.summary("model", tag="team=team-7"),
        "summary by key of a tag": lambda: reader.summary("key", tag="team=team-7"),
        "summary by tag of a key": lambda: reader.summary("tag", key=row["key_id"]),
        "summary by model of 7 × 24 h": lambda: reader.summary(
            "model", since=end - timedelta(days=7)
        ),
        "overview: spend by hour, 30 days": lambda: overview.spend(*month, "hour"),
        "overview: spend by day, 90 days": lambda: overview.spend(*ever, "day"),
        "overview: latency, 90 days": lambda: overview.latency(*ever),
        "overview: scores, 90 days": lambda: overview.scores(*ever),
    }
    return {name: Timed.of(question) for name, question in questions.items()}


_GROUPS = ("model", "tier", "key", "tag", "day")


def _summary(reader: LedgerReader, by: str) -> Callable[[], Any]:
    return lambda: reader.summary(by)


def _by_primary_key(reader: LedgerReader, request_id: str) -> object:
    of_row = sa.and_(ledger_table.c.request_id == request_id, ledger_table.c.attempt == 1)
    with reader.connection() as connection:
        return connection and connection.execute(sa.select(ledger_table).where(of_row)).one()


def exported(url: str) -> None:
    """The newest 10,000 rows, read as `costs --format csv` reads them."""
    for _ in LedgerReader(url).batches(limit=10_000, size=5000):
        pass


def deletion(url: str, end: datetime) -> Timed:
    """A slice of what retention deletes."""
    engine = open_for_writing(url, durable=False)
    cutoff = end - timedelta(days=DAYS - 1)
    timed = Timed.of(lambda: delete_before(engine, cutoff, 1000))
    engine.dispose()
    return timed


def measure(url: str, count: int) -> Measured:
    """Everything about one database."""
    end = datetime.now(UTC).replace(microsecond=0)
    measured = Measured()
    asyncio.run(write(url, count, end, measured))
    measured.bare_rows_per_s = bare_rows_per_s(url, min(count, _BARE_ROWS), end)
    measured.row_bytes = bytes_a_row(url, count)
    measured.queries = read(url, count, end)
    measured.queries["retention: delete 1,000 rows"] = deletion(url, end)
    measured.queries["export: read 10,000 rows"] = Timed.of(lambda: exported(url), repeats=5)
    return measured


@contextmanager
def _urls(kinds: list[str]) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        urls = {"sqlite": f"sqlite:///{folder}/{uuid.uuid4().hex}.db"}
        if "postgresql" not in kinds:
            yield urls
            return
        with own_postgres("shared_buffers=512MB", "max_wal_size=2GB") as server:
            yield {**urls, "postgresql": server.url}


def shown(found: dict[str, Measured]) -> str:
    """The figures as Markdown tables."""
    kinds, measured = list(found), list(found.values())
    parts = sorted({part for one in measured for part in one.row_bytes})
    lines: list[Sequence[str]] = [
        ["rows/s through the ledger", *(f"{one.rows_per_s:,.0f}" for one in measured)],
        [
            f"rows/s, best stretch of {_MADE_AT_ONCE:,}",
            *(f"{one.best_rows_per_s:,.0f}" for one in measured),
        ],
        ["rows/s, bare executemany", *(f"{one.bare_rows_per_s:,.0f}" for one in measured)],
        [
            "ratio",
            *(f"{one.rows_per_s / one.bare_rows_per_s:.2f}" for one in measured),
        ],
        ["processor µs a row, all in", *(f"{one.cpu_us_per_row:.0f}" for one in measured)],
        ["event loop late by, p99 ms", *(f"{one.lag_ms:.1f}" for one in measured)],
    ]
    for part in parts:
        sizes = [one.row_bytes.get(part) for one in measured]
        lines.append([f"bytes a row, {part}", *("" if s is None else f"{s:,.0f}" for s in sizes)])
    queries = [
        [
            name,
            *(f"{one.queries[name].median:.1f} / {one.queries[name].best:.1f}" for one in measured),
        ]
        for name in measured[0].queries
    ]
    written = table(("writing", *kinds), [tuple(line) for line in lines])
    return f"{written}\n\n{table(('ms: median / best', *kinds), [tuple(line) for line in queries])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    arguments = parser.parse_args()
    both = arguments.database == "both"
    kinds = ["sqlite", "postgresql"] if both else [arguments.database]
    console = Console(stderr=True)
    found: dict[str, Measured] = {}
    with _urls(kinds) as urls:
        for kind in kinds:
            with console.status(f"{arguments.rows:,} rows into {kind} …"):
                found[kind] = measure(urls[kind], arguments.rows)
    print(shown(found))


if __name__ == "__main__":
    main()
