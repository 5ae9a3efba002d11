"""Sums by tag, hour and score, histograms, and indexes that find a key's or a tag's rows."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa
from alembic import op

from gateway.accounting.daily_tags import DailyTags
from gateway.accounting.database import iso_z, ledger
from gateway.accounting.rollup import (
    add_calls,
    add_scores,
    add_tags,
    additions_of,
    days_and_tags,
)

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SUMS = (
    "calls",
    "prompt_tokens",
    "completion_tokens",
    "priced",
    "unpriced",
    "cost_micro",
    "cost_pico_rest",
)
_READ_AT_ONCE = 2000


def upgrade() -> None:
    """Add five tables, two columns and three indexes, and fill them from the rows."""
    for name in ("energy_wh", "co2_g"):
        op.add_column("daily_totals", sa.Column(name, sa.Double))
    op.create_index("daily_totals_key", "daily_totals", ["key_id", "day"])
    op.create_index("ledger_key", "ledger", ["key_id", "ts"])
    op.create_index("ledger_deployment", "ledger", ["deployment", "ts"])
    _create_call_totals()
    _create_score_totals()
    _create_tag_totals()
    op.create_table(
        "ledger_tags",
        sa.Column("tag_hash", sa.BigInteger, nullable=False),
        sa.Column(
            "ts", sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite"), nullable=False
        ),
        sa.PrimaryKeyConstraint("tag_hash", "ts", name="ledger_tags_pkey"),
        sqlite_with_rowid=False,
    )
    _fill(op.get_bind())


def _create_call_totals() -> None:
    op.create_table(
        "call_totals",
        *_texts("step", "start", "deployment", "tier"),
        *_sums(),
        sa.Column("errors", sa.BigInteger, nullable=False),
        *_texts("latency_counts", "ttft_counts"),
        sa.PrimaryKeyConstraint("step", "start", "deployment", "tier", name="call_totals_pkey"),
    )


def _create_score_totals() -> None:
    op.create_table(
        "score_totals",
        *_texts("step", "start", "policy", "tier", "bins"),
        sa.PrimaryKeyConstraint("step", "start", "policy", "tier", name="score_totals_pkey"),
    )


def _create_tag_totals() -> None:
    op.create_table(
        "daily_tag_totals",
        *_texts("tag", "day", "deployment", "model_served", "tier"),
        *_sums(),
        sa.PrimaryKeyConstraint(
            "tag", "day", "deployment", "model_served", "tier", name="daily_tag_totals_pkey"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("daily_tag_totals_day", "daily_tag_totals", ["day", "tag"])
    op.create_table(
        "daily_tag_key_totals",
        *_texts("tag", "day", "key_id"),
        *_sums(),
        sa.PrimaryKeyConstraint("tag", "day", "key_id", name="daily_tag_key_totals_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("daily_tag_key_totals_key", "daily_tag_key_totals", ["key_id", "day"])


def _fill(connection: sa.Connection) -> None:
    """Sum the rows, a few thousand at a time; days without rows from what was summed of them."""
    tags = DailyTags()
    for rows in _batches(connection):
        tags.admit(connection, days_and_tags(rows))
        additions = additions_of(rows)
        add_calls(connection, additions)
        add_scores(connection, additions)
        add_tags(connection, additions, tags)
    sums = ", ".join(f"sum({name})" for name in _SUMS)
    replaced = ", ".join(f"{name} = excluded.{name}" for name in _SUMS)
    connection.exec_driver_sql(
        f"INSERT INTO call_totals (step, start, deployment, tier, {', '.join(_SUMS)}, errors,"  # noqa: S608 (our own names)
        f" latency_counts, ttft_counts) SELECT 'day', day, deployment, tier, {sums}, 0, '{{}}',"
        " '{}' FROM daily_totals WHERE true GROUP BY day, deployment, tier"
        f" ON CONFLICT (step, start, deployment, tier) DO UPDATE SET {replaced}"
    )


def _batches(connection: sa.Connection) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The rows in order of time, the moments as text."""
    known = {column["name"] for column in sa.inspect(connection).get_columns("ledger")}
    columns = [column for column in ledger.columns if column.name in known]
    statement = sa.select(*columns).order_by(ledger.c.ts).execution_options(stream_results=True)
    result = connection.execute(statement.execution_options(yield_per=_READ_AT_ONCE))
    rows = ({**row, "ts": iso_z(row["ts"])} for row in result.mappings())
    while batch := list(islice(rows, _READ_AT_ONCE)):
        yield batch


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _sums() -> list[sa.Column[Any]]:
    whole = [sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS]
    return [*whole, sa.Column("energy_wh", sa.Double), sa.Column("co2_g", sa.Double)]


def downgrade() -> None:
    """Drop what `upgrade` added."""
    tables = ("ledger_tags", "daily_tag_key_totals", "daily_tag_totals", "score_totals")
    for table in (*tables, "call_totals"):
        op.drop_table(table)
    op.drop_index("ledger_deployment", "ledger")
    op.drop_index("ledger_key", "ledger")
    op.drop_index("daily_totals_key", "daily_totals")
    for name in ("energy_wh", "co2_g"):
        op.drop_column("daily_totals", name)
