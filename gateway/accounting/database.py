"""The ledger's tables, one code path for SQLite and PostgreSQL, and how they are opened."""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Dialect, Engine, make_url
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeDecorator, TypeEngine

#: How long a writer waits for another process's transaction, in seconds.
BUSY_TIMEOUT_S = 5.0

#: What SQLite's writer may keep in memory, and pages of 4 KB that its log may grow to.
_CACHE_KB = 32 * 1024
_CHECKPOINT_PAGES = 8000

#: When PostgreSQL counts as away, in libpq's words: a connection whose other end has vanished would
#: otherwise hold its thread for hours. Seconds, the last one milliseconds.
_PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "15000",
}


class UtcTimestamp(TypeDecorator[datetime]):
    """A moment in UTC: `timestamptz` in PostgreSQL, sortable ISO-8601 text in SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type of a database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String(27))
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """A moment on its way into the database; naive ones are taken as UTC."""
        if value is None:
            return None
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return iso_z(moment) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """A moment as read back, always aware."""
        if value is None or isinstance(value, datetime):
            return value
        return datetime.fromisoformat(value)


def iso_z(moment: datetime) -> str:
    """A moment in UTC as ISO-8601 to the microsecond, ending in Z; its text sorts by time."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


metadata = sa.MetaData()

#: One row for each attempt at a backend; costs in whole pico-USD, null when unpriced.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("ts", UtcTimestamp, nullable=False),
    sa.Column("key_id", sa.Text),
    sa.Column("session", sa.Text),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("model_requested", sa.Text, nullable=False),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.Column("model_served", sa.Text),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("score", sa.Double),
    sa.Column("threshold", sa.Double),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("router_version", sa.Text, nullable=False),
    sa.Column("propensity", sa.Double, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("stream", sa.Boolean, nullable=False),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),
    sa.Column("cached_tokens", sa.Integer),
    sa.Column("reasoning_tokens", sa.Integer),
    sa.Column("usage_source", sa.Text),
    sa.Column("cost_pico", sa.BigInteger),
    sa.Column("cost_source", sa.Text, nullable=False),
    sa.Column("price_id", sa.Text),
    sa.Column("energy_wh", sa.Double),
    sa.Column("energy_source", sa.Text),
    sa.Column("latency_ms", sa.Double, nullable=False),
    sa.Column("ttft_ms", sa.Double),
    sa.Column("overhead_ms", sa.Double, nullable=False),
    sa.Column("tags", sa.Text, nullable=False),
    sa.Column("client_request_id", sa.Text),
    sa.Column("policy", sa.Text),
    sa.Column("confidence", sa.Double),
    sa.Column("shadow_version", sa.Text),
    sa.Column("shadow_score", sa.Double),
    sa.Column("cache_write_tokens", sa.Integer),
    sa.Column("audio_input_tokens", sa.Integer),
    sa.Column("audio_output_tokens", sa.Integer),
    sa.Column("mean_logprob", sa.Double),
    sa.Column("min_logprob", sa.Double),
    sa.Column("first_token_entropy", sa.Double),
    sa.Column("first_token_margin", sa.Double),
    sa.Column("co2_g", sa.Double),
    sa.Column("cache_write_1h_tokens", sa.Integer),
    sa.Column("image_input_tokens", sa.Integer),
    sa.Column("image_output_tokens", sa.Integer),
    sa.Column("searches", sa.Integer),
    sa.Column("service_tier", sa.Text),
    sa.PrimaryKeyConstraint("request_id", "attempt", name="ledger_pkey"),
    sa.Index("ledger_ts", "ts"),
    sa.Index("ledger_key", "key_id", "ts"),
    sa.Index("ledger_deployment", "deployment", "ts"),
)

#: What users said of answers: `score` 0 (useless) to 1 (right). The newest of a request counts.
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("ts", UtcTimestamp, nullable=False),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("comment", sa.Text),
    sa.Column("key_id", sa.Text),
    sa.PrimaryKeyConstraint("request_id", "ts", name="feedback_pkey"),
    sa.Index("feedback_ts", "ts"),
)

#: The messages of requests as JSON text, only where the configuration asks for them.
conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("ts", UtcTimestamp, nullable=False),
    sa.Column("messages", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("request_id", name="conversations_pkey"),
    sa.Index("conversations_ts", "ts"),
)

#: Answers of the Responses API that clients asked to keep, each with its own input items as JSON.
responses = sa.Table(
    "responses",
    metadata,
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("ts", UtcTimestamp, nullable=False),
    sa.Column("key_id", sa.Text),
    sa.Column("previous_response_id", sa.Text),
    sa.Column("input_items", sa.Text, nullable=False),
    sa.Column("response", sa.Text, nullable=False),
    sa.Column("expires", UtcTimestamp),
    sa.PrimaryKeyConstraint("id", name="responses_pkey"),
    sa.Index("responses_expires", "expires"),
)

#: Totals of a UTC day, which outlive the rows. An empty text stands for null. Costs are kept in
#: two parts, whole micro-USD and the pico-USD left over, so that no sum can overflow 64 bits.
daily_totals = sa.Table(
    "daily_totals",
    metadata,
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.Column("model_served", sa.Text, nullable=False),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("priced", sa.BigInteger, nullable=False),
    sa.Column("unpriced", sa.BigInteger, nullable=False),
    sa.Column("cost_micro", sa.BigInteger, nullable=False),
    sa.Column("cost_pico_rest", sa.BigInteger, nullable=False),
    sa.Column("energy_wh", sa.Double),
    sa.Column("co2_g", sa.Double),
    sa.PrimaryKeyConstraint(
        "day", "deployment", "model_served", "tier", "key_id", name="daily_totals_pkey"
    ),
    sa.Index("daily_totals_key", "key_id", "day"),
)

PICO_A_MICRO = 1_000_000

#: The columns of what may have prices of its own, named as in `Usage`.
SPECIAL_TOKENS = (
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "audio_output_tokens",
    "image_output_tokens",
    "reasoning_tokens",
    "searches",
)


def open_for_writing(url: str, *, durable: bool, connections: int = 1) -> Engine:
    """An engine whose transactions take the write lock when they begin.

    In SQLite a commit survives the process either way; `durable` makes it survive a power cut.
    `connections` are the most that are open at once to a server.
    """
    target = _target(url)
    if target.get_backend_name() != "sqlite":
        return sa.create_engine(
            target,
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    _path(target)
    # `isolation_level=None` leaves BEGIN to the listener below: a transaction that starts as a
    # reader would fail at its first write when another process has written meanwhile.
    engine = sa.create_engine(
        target,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None},
    )
    synchronous = "FULL" if durable else "NORMAL"

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA synchronous={synchronous}")
        # Sums of all tags and indexes of all keys are written to again and again: they are kept
        # at hand, and many commits are copied into the file at once.
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KB}")
        connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def open_for_reading(url: str, *, connections: int = 0) -> Engine | None:
    """An engine that never writes; None when the SQLite file doesn't exist.

    So many `connections` to a server stay open between questions, until it is disposed of.
    """
    target = _target(url)
    if target.get_backend_name() != "sqlite":
        if not connections:
            return sa.create_engine(target, poolclass=NullPool, hide_parameters=True)
        return sa.create_engine(
            target,
            pool_size=connections,
            max_overflow=-1,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    path = _path(target)
    if not path.exists():
        return None
    address = f"{path.resolve().as_uri()}?mode=ro"
    return sa.create_engine(
        "sqlite://",
        poolclass=NullPool,
        hide_parameters=True,
        creator=lambda: sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S),
    )


def spool_folder(url: str, parent: Path | None) -> Path | None:
    """Where rows of this database wait on disk: in `parent`, else beside the SQLite file, if any.

    Under a `parent` each database has a folder of its own.
    """
    target = make_url(url)
    is_sqlite = target.get_backend_name() == "sqlite"
    if is_sqlite and target.database in _NO_FILE:
        return None
    if parent is None:
        return Path(f"{target.database}.spool") if is_sqlite else None
    shown = (
        str(Path(str(target.database)).absolute()) if is_sqlite else str(target.set(password=None))
    )
    return parent / hashlib.sha256(shown.encode()).hexdigest()[:16]


def driver_reason(error: Exception) -> str:
    """The driver's own words, on one line: SQLAlchemy's would show the statement too."""
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _target(url: str) -> URL:
    target = make_url(url)
    if target.get_backend_name() == "postgresql":
        asked = target.normalized_query.get("options", ())
        added = {
            **{name: target.query.get(name, value) for name, value in _PATIENCE.items()},
            "options": " ".join((*asked, "-c timezone=utc")),
        }
        target = target.set(drivername="postgresql+psycopg").update_query_dict(added)
    return target


_NO_FILE = {None, "", ":memory:"}


def _path(target: URL) -> Path:
    if target.database in _NO_FILE:
        raise ValueError("the ledger needs a file, for example sqlite:///gateway.db")
    return Path(str(target.database))
