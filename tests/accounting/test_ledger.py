"""Every entry lands exactly once: through locks, full disks, crashes and restarts."""

import asyncio
import logging
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from gateway.accounting import database
from gateway.accounting.ledger import Ledger
from gateway.accounting.query import LedgerReader
from gateway.accounting.row import COLUMNS
from gateway.core.certainty import Certainty
from gateway.core.errors import LedgerUnavailable
from gateway.core.price import Cost
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import NOON, entry, record, running


def eventually(condition: Callable[[], bool], within_s: float = 10) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.01)


def stored(url: str) -> list[str]:
    return [row["request_id"] for row in LedgerReader(url).rows(limit=None)]


def test_a_row_comes_back_as_the_design_lists_it(ledger_url: str) -> None:
    full = entry(
        request_id="req-1",
        attempt=2,
        key_id="key",
        session="session",
        client_request_id="theirs",
        score=0.25,
        threshold=0.5,
        propensity=0.9,
        policy="cheap",
        confidence=0.75,
        certainty=Certainty(-0.5, -3.25, 1.5, 0.125),
        shadow_version="c2",
        shadow_score=0.5,
        stream=True,
        usage=Usage(
            *(10, 20, 4, 3), cache_write_tokens=2, audio_input_tokens=1, audio_output_tokens=5
        ),
        energy_wh=0.125,
        energy_source="estimated:power",
        co2_g=0.0625,
        latency_ms=12.5,
        ttft_ms=3.5,
        overhead_ms=0.5,
        tags={"team": "søk", 'odd "key"': "a=b,c"},
    )
    record(ledger_url, full)
    (row,) = LedgerReader(ledger_url).rows()
    assert row == {
        "request_id": "req-1",
        "attempt": 2,
        "ts": "2026-03-01T12:00:00.000000Z",
        "key_id": "key",
        "session": "session",
        "endpoint": "/v1/chat/completions",
        "model_requested": "auto",
        "deployment": "gpt-4o",
        "model_served": "gpt-4o-2024-08-06",
        "tier": "large",
        "score": 0.25,
        "threshold": 0.5,
        "reason": "above_threshold",
        "router_version": "c1",
        "propensity": 0.9,
        "outcome": "ok",
        "status": 200,
        "stream": True,
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "cached_tokens": 4,
        "reasoning_tokens": 3,
        "usage_source": "reported",
        "cost_usd": "0.00000625",
        "cost_source": "computed",
        "price_id": "config:gpt-4o",
        "energy_wh": 0.125,
        "energy_source": "estimated:power",
        "latency_ms": 12.5,
        "ttft_ms": 3.5,
        "overhead_ms": 0.5,
        "tags": {"team": "søk", 'odd "key"': "a=b,c"},
        "client_request_id": "theirs",
        "policy": "cheap",
        "confidence": 0.75,
        "shadow_version": "c2",
        "shadow_score": 0.5,
        "cache_write_tokens": 2,
        "audio_input_tokens": 1,
        "audio_output_tokens": 5,
        "mean_logprob": -0.5,
        "min_logprob": -3.25,
        "first_token_entropy": 1.5,
        "first_token_margin": 0.125,
        "co2_g": 0.0625,
        "cache_write_1h_tokens": 0,
        "image_input_tokens": 0,
        "image_output_tokens": 0,
        "searches": 0,
        "service_tier": None,
    }
    assert tuple(row) == COLUMNS
    assert {type(name) for name in row} == {str}  # what JSON encoders insist on


def test_what_is_unknown_is_null_never_zero(ledger_url: str) -> None:
    record(ledger_url, entry(usage=None, cost=Cost(None, "unpriced"), outcome="timeout"))
    (row,) = LedgerReader(ledger_url).rows()
    unknown = ("cost_usd", "prompt_tokens", "completion_tokens", "usage_source", "ttft_ms")
    assert [row[name] for name in unknown] == [None] * 5


def test_every_entry_lands_exactly_once_in_rows_and_totals(ledger_url: str) -> None:
    entries = [entry(request_id=f"r{i}") for i in range(1200)]
    again = entries[::7]
    record(ledger_url, *entries, *again)
    record(ledger_url, *again)
    assert sorted(stored(ledger_url)) == sorted(one.request_id for one in entries)
    (total,) = LedgerReader(ledger_url).summary("model")
    assert (total["calls"], total["cost_usd"]) == (1200, "0.0075")


def test_attempts_of_one_request_are_rows_of_their_own(ledger_url: str) -> None:
    record(ledger_url, entry(request_id="r"), entry(request_id="r", attempt=2))
    assert [row["attempt"] for row in LedgerReader(ledger_url).rows()] == [2, 1]


def test_a_row_is_in_the_database_within_a_second(ledger_url: str) -> None:
    with running(ledger_url) as ledger:
        eventually(lambda: ledger.not_ready() is None)
        ledger.put(entry())
        eventually(lambda: len(stored(ledger_url)) == 1, within_s=1)


async def test_wait_written_returns_once_the_row_can_be_read(ledger_url: str) -> None:
    with running(ledger_url, durable=True, flush_interval_s=60) as ledger:
        eventually(lambda: ledger.not_ready() is None)
        for count in range(1, 6):
            ledger.put(entry())
            await asyncio.wait_for(ledger.wait_written(), 10)
            assert len(stored(ledger_url)) == count


async def test_a_waiter_that_gave_up_disturbs_nobody(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    ledger.put(entry())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ledger.wait_written(), 0.01)
    ledger.start()
    eventually(lambda: ledger.written == 1)
    await asyncio.wait_for(ledger.wait_written(), 10)
    ledger.stop()
    assert len(stored(ledger_url)) == 1


async def test_a_waiter_learns_that_the_ledger_ended(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/missing/ledger.db")
    ledger.start()
    ledger.put(entry())
    waiting = asyncio.create_task(ledger.wait_written())
    await asyncio.sleep(0)
    ledger.stop(timeout_s=0.05)
    with pytest.raises(LedgerUnavailable):
        await asyncio.wait_for(waiting, 5)
    with pytest.raises(LedgerUnavailable):
        await ledger.wait_written()


def test_a_full_queue_drops_counts_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger = Ledger(url, queue_size=2)
    for i in range(5):
        ledger.put(entry(request_id=f"r{i}"))
    assert ledger.dropped == 3
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == [
        "the ledger loses rows: its queue is full"
    ]
    ledger.start()
    ledger.stop()
    assert caplog.records[-1].message == "the ledger has lost 3 rows since it started"
    assert sorted(stored(url)) == ["r0", "r1"]


def test_entries_after_stop_wait_on_disk_for_the_next_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with running(url) as ledger:
        pass
    ledger.put(entry(request_id="late"))
    assert ledger.dropped == 0
    with running(url):
        eventually(lambda: stored(url) == ["late"])


def test_what_was_spooled_just_before_the_end_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/l.db"
    ledger = Ledger(url)
    stopping = threading.Thread(target=ledger.stop)

    def slow(*arguments: Any) -> bool:
        """The database's thread has seen an empty spool, and then does something else."""
        if not stopping.ident:
            ledger.put(entry(request_id="late"))
            stopping.start()
            while not ledger.spooled_rows:
                time.sleep(0.01)
            time.sleep(0.3)
        return False

    monkeypatch.setattr("gateway.accounting.writing.delete_expired", slow)
    ledger.start()
    while not stopping.ident:
        time.sleep(0.01)
    stopping.join()
    assert [row["request_id"] for row in LedgerReader(url).rows()] == ["late"]


def test_entries_after_stop_are_dropped_where_nothing_can_be_written(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/missing/ledger.db")
    ledger.start()
    ledger.stop(timeout_s=0.1)
    ledger.put(entry())
    assert ledger.dropped == 1


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection holds the write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("COMMIT")
        other.close()


@pytest.mark.parametrize("busy_timeout_s", [0.02, 30])
def test_rows_wait_on_disk_while_sqlite_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy_timeout_s: float
) -> None:
    """Whether the driver gives up at once or holds its thread for long."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", busy_timeout_s)
    url = f"sqlite:///{tmp_path}/ledger.db"
    with running(url, flush_interval_s=0.01) as ledger:
        eventually(lambda: ledger.not_ready() is None)
        with locked(tmp_path / "ledger.db"):
            for i in range(1200):
                ledger.put(entry(request_id=f"r{i:04}"))
            eventually(lambda: ledger.spooled_rows == 1200)
            assert ledger.waiting_rows == 0
            assert ledger.spooled_bytes > 1200 * 100
            assert ledger.lag_s > 0
            assert ledger.not_ready() is None
            assert "1200 rows wait in the spool" in str(ledger.degraded())
            assert stored(url) == []
        eventually(lambda: ledger.written == 1200)
        eventually(lambda: ledger.degraded() is None)
        assert ledger.lag_s < 1
    assert sorted(stored(url)) == [f"r{i:04}" for i in range(1200)]
    assert ledger.dropped == 0
    assert not (tmp_path / "ledger.db.spool").exists()


def test_a_stop_while_locked_is_quick_and_leaves_the_rows_on_disk(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger = Ledger(url)
    ledger.start()
    eventually(lambda: ledger.not_ready() is None)
    with locked(tmp_path / "ledger.db"):
        ledger.put(entry(request_id="kept"))
        started_s = time.monotonic()
        ledger.stop(timeout_s=1)
        assert time.monotonic() - started_s < 4
        assert stored(url) == []
    assert ledger.dropped == 0
    with running(url):
        eventually(lambda: stored(url) == ["kept"])


def test_a_waiting_row_is_the_same_row_when_it_arrives(
    new_ledger_url: Callable[[], str], tmp_path: Path
) -> None:
    odd = entry(
        request_id="r",
        score=0.1 + 0.2,
        latency_ms=1e-7,
        cost=Cost(Decimal("8999999.999999999999"), "computed", "p"),
        tags={"team": "søk", "a": 'b"'},
        messages='[{"content": "π\\u0000"}]',
    )
    direct, through_spool = new_ledger_url(), new_ledger_url()
    record(direct, odd)
    stopped = Ledger(through_spool, spool_dir=tmp_path)
    stopped.put(odd)
    stopped.stop()
    with running(through_spool, spool_dir=tmp_path):
        eventually(lambda: stored(through_spool) == ["r"])
    assert LedgerReader(through_spool).rows() == LedgerReader(direct).rows()
    assert LedgerReader(through_spool).summary("day") == LedgerReader(direct).summary("day")


async def test_durable_rows_are_safe_in_the_spool_while_the_database_is_locked(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with running(url, durable=True) as ledger:
        eventually(lambda: ledger.not_ready() is None)
        with locked(tmp_path / "ledger.db"):
            ledger.put(entry(request_id="r"))
            await asyncio.wait_for(ledger.wait_written(), 10)
            assert ledger.spooled_rows == 1
            assert '"r"' in next((tmp_path / "ledger.db.spool").iterdir()).read_text()
        eventually(lambda: stored(url) == ["r"])


async def test_durable_requests_fail_while_nothing_can_be_written_and_their_rows_arrive(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    blocked = tmp_path / "ledger.db.spool"
    blocked.write_text("a file where the spool's folder would be")
    with running(url, durable=True) as ledger:
        eventually(lambda: ledger.not_ready() is None)
        with locked(tmp_path / "ledger.db"):
            ledger.put(entry(request_id="r"))
            with pytest.raises(LedgerUnavailable):
                await asyncio.wait_for(ledger.wait_written(), 10)
            assert "1 in memory" in str(ledger.not_ready())
        eventually(lambda: stored(url) == ["r"])
        eventually(lambda: ledger.not_ready() is None)
    assert ledger.dropped == 0


async def test_a_durable_row_that_is_dropped_fails_its_request_alone(ledger_url: str) -> None:
    with running(ledger_url, durable=True) as ledger:
        eventually(lambda: ledger.not_ready() is None)
        ledger.put(entry(deployment=None))
        with pytest.raises(LedgerUnavailable):
            await asyncio.wait_for(ledger.wait_written(), 10)
        ledger.put(entry(request_id="good"))
        await asyncio.wait_for(ledger.wait_written(), 10)
    full = Ledger(ledger_url, durable=True, queue_size=1)
    full.put(entry())
    full.put(entry())
    with pytest.raises(LedgerUnavailable):
        await full.wait_written()
    assert stored(ledger_url) == ["good"]


def test_a_database_that_comes_late_gets_its_rows(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    url = f"sqlite:///{folder}/ledger.db"
    with running(url, flush_interval_s=0.01) as ledger:
        ledger.put(entry())
        eventually(lambda: "unable to open database file" in (ledger.not_ready() or ""))
        folder.mkdir()
        eventually(lambda: ledger.not_ready() is None)
    assert len(stored(url)) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "needs a file"),
        ("postgresql://gateway:hunter2@/x?host=/nowhere", "can't be written"),
    ],
)
def test_an_impossible_database_is_explained_without_its_password(url: str, words: str) -> None:
    ledger = Ledger(url)
    assert ledger.not_ready() is not None
    ledger.start()
    eventually(lambda: words in (ledger.not_ready() or ""))
    ledger.stop(timeout_s=0.1)
    assert "hunter2" not in str(ledger.not_ready())


@pytest.mark.parametrize("new_ledger_url", ["postgresql"], indirect=True, scope="session")
def test_a_postgresql_session_that_is_cut_loses_nothing(ledger_url: str) -> None:
    with running(ledger_url, flush_interval_s=0.01) as ledger:
        ledger.put(entry(request_id="before"))
        eventually(lambda: stored(ledger_url) == ["before"])
        killer = sa.create_engine(ledger_url.replace("postgresql:", "postgresql+psycopg:"))
        with killer.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        killer.dispose()
        ledger.put(entry(request_id="after"))
        eventually(lambda: sorted(stored(ledger_url)) == ["after", "before"])


@pytest.mark.parametrize("new_ledger_url", ["postgresql"], indirect=True, scope="session")
def test_rows_wait_on_disk_while_postgresql_is_away(
    ledger_url: str, postgres_socket_dir: Path, tmp_path: Path
) -> None:
    socket = postgres_socket_dir / ".s.PGSQL.5432"
    with running(ledger_url, flush_interval_s=0.01, spool_dir=tmp_path) as ledger:
        eventually(lambda: ledger.not_ready() is None)
        socket.rename(socket.with_suffix(".away"))
        try:
            _cut_sessions(socket.with_suffix(".away"))
            for i in range(600):
                ledger.put(entry(request_id=f"r{i:03}"))
            eventually(lambda: ledger.spooled_rows == 600)
            eventually(lambda: "can't be written" in str(ledger.degraded()))
            assert ledger.not_ready() is None
        finally:
            socket.with_suffix(".away").rename(socket)
        eventually(lambda: ledger.written == 600)
    assert sorted(stored(ledger_url)) == [f"r{i:03}" for i in range(600)]
    assert list(tmp_path.iterdir()) == []


def _cut_sessions(socket: Path) -> None:
    """End all sessions of a server that listens where no client looks."""
    shown = socket.parent / "elsewhere"
    shown.mkdir(exist_ok=True)
    path = shown / ".s.PGSQL.5432"
    path.symlink_to(socket)
    with psycopg.connect(f"host={shown} user=gateway dbname=postgres") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    path.unlink()


@pytest.mark.parametrize("new_ledger_url", ["postgresql"], indirect=True, scope="session")
def test_rows_wait_on_disk_while_postgresql_hangs(ledger_url: str, tmp_path: Path) -> None:
    with running(ledger_url, flush_interval_s=0.01, spool_dir=tmp_path) as ledger:
        eventually(lambda: ledger.not_ready() is None)
        other = sa.create_engine(ledger_url.replace("postgresql:", "postgresql+psycopg:"))
        with other.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
            ledger.put(entry(request_id="first"))
            eventually(lambda: ledger.spooled_rows == 1)
            ledger.put(entry(request_id="second"))
            eventually(lambda: ledger.spooled_rows == 2)
            assert "doesn't answer" in str(ledger.degraded())
        other.dispose()
        # The held-up statement writes the first row too, which is then left out of the spool's.
        eventually(lambda: sorted(stored(ledger_url)) == ["first", "second"])
        eventually(lambda: ledger.degraded() is None)
    assert [row["calls"] for row in LedgerReader(ledger_url).summary("day")] == [2]


def test_a_row_that_no_database_takes_is_lost_alone(ledger_url: str) -> None:
    with running(ledger_url) as ledger:
        ledger.put(entry(request_id="good"))
        ledger.put(entry(deployment=None))
        ledger.put(entry(status="not a number", ts="nor a time"))
        ledger.put(entry(request_id="fine"))
    assert sorted(stored(ledger_url)) == ["fine", "good"]
    assert ledger.dropped == 2


def test_hostile_values_are_stored_in_a_shape_that_fits(ledger_url: str) -> None:
    hostile = entry(
        model_requested="a\0b\ud800" + "ü" * 500,
        usage=Usage(2**40, 2**70, 2**41),
        tags={"a\0": "\ud800", "long": "x" * 5000, "not": "reached"},
    )
    record(ledger_url, hostile)
    (row,) = LedgerReader(ledger_url).rows()
    assert row["model_requested"].startswith("a\ufffdb?üü")
    assert len(row["model_requested"].encode()) <= 80
    assert (row["prompt_tokens"], row["completion_tokens"]) == (2**31 - 1, 2**31 - 1)
    assert row["tags"] == {"a\ufffd": "?"}


def test_the_largest_row_stays_under_a_kilobyte(tmp_path: Path) -> None:
    long = "é" * 1000
    names = ("session", "endpoint", "model_requested", "deployment", "model_served", "tier")
    more = ("reason", "router_version", "key_id", "client_request_id", "energy_source")
    late = ("policy", "shadow_version")
    changes = dict.fromkeys(names + more + late, long)
    cost = Cost(Decimal("8999999.999999999999"), "computed", long)
    scores = ("score", "threshold", "confidence", "shadow_score", "propensity")
    times = ("latency_ms", "ttft_ms", "overhead_ms")
    numbers = dict.fromkeys((*scores, *times, "energy_wh", "co2_g"), 0.1)
    sure = Certainty(*[-0.1] * 4)
    tags = {f"key{i}": long[:20] for i in range(100)}
    usage = Usage(2**31, 2**31, 2**31, 2**31, source="estimated")
    rows = [
        entry(
            request_id=f"{i:048}",
            cost=cost,
            tags=tags,
            usage=usage,
            certainty=sure,
            **changes,
            **numbers,
        )
        for i in range(500)
    ]
    record(f"sqlite:///{tmp_path}/ledger.db", *rows)
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        columns = " + ".join(f"coalesce(length(cast({c} as blob)), 0)" for c in _columns())
        (largest,) = connection.execute(f"SELECT max({columns}) FROM ledger").fetchone()
    connection.close()
    assert largest < 1024


def _columns() -> list[str]:
    return [column.name for column in database.ledger.columns]


def test_old_rows_go_and_their_totals_stay(ledger_url: str) -> None:
    now = datetime.now(UTC)
    record(
        ledger_url,
        *(entry(request_id=f"old{i}", ts=NOON) for i in range(3)),
        entry(request_id="new", ts=now - timedelta(days=29)),
    )
    with running(ledger_url, retention_days=(now - NOON).days - 1) as ledger:
        eventually(lambda: stored(ledger_url) == ["new"])
        ledger.put(entry(request_id="newer", ts=now))
    assert stored(ledger_url) == ["newer", "new"]
    assert sum(row["calls"] for row in LedgerReader(ledger_url).summary("day")) == 5


_WRITER = """
import sys, uuid
sys.path.insert(0, sys.argv[2])
from tests.accounting.ledger_entries import entry, running
with running(sys.argv[1]) as ledger:
    for _ in range(300):
        ledger.put(entry())
assert ledger.dropped == 0, ledger.not_ready()
"""

_KILLED = """
import asyncio, os, signal, sys, time
sys.path.insert(0, sys.argv[2])
from tests.accounting.ledger_entries import entry, running
async def main(durable):
    with running(sys.argv[1], durable=durable) as ledger:
        while ledger.not_ready():
            time.sleep(0.01)
        ledger.put(entry(request_id="kept"))
        await ledger.wait_written() if durable else time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main(sys.argv[3] == "durable"))
"""

_FULL = """
import resource, signal, sys, time
sys.path.insert(0, sys.argv[2])
from tests.accounting.ledger_entries import entry, running
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with running(sys.argv[1], flush_interval_s=0.01) as ledger:
    while ledger.not_ready():
        time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    for _ in range(3000):
        ledger.put(entry())
    while "in memory" not in (ledger.degraded() or ""):
        time.sleep(0.01)
    print(ledger.degraded())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert ledger.dropped == 0
"""


def start_process(code: str, url: str, *arguments: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", code, url, root, *arguments], stdout=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def test_several_processes_may_start_at_once_on_an_empty_database(ledger_url: str) -> None:
    processes = [start_process(_WRITER, ledger_url) for _ in range(3)]
    assert [finish(process)[0] for process in processes] == [0, 0, 0]
    assert len(stored(ledger_url)) == 900
    assert [row["calls"] for row in LedgerReader(ledger_url).summary("day")] == [900]


@pytest.mark.parametrize("mode", ["durable", "default"])
def test_a_killed_process_keeps_its_finished_calls(ledger_url: str, mode: str) -> None:
    code, _ = finish(start_process(_KILLED, ledger_url, mode))
    assert code == -signal.SIGKILL
    assert stored(ledger_url) == ["kept"]


def test_rows_wait_while_the_disk_is_full(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    code, output = finish(start_process(_FULL, url))
    assert code == 0
    assert "can't be written" in output
    assert len(stored(url)) == 3000
