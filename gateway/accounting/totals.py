"""The tables of sums, which answer where the ledger's rows would be too many to read."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.accounting.database import UtcTimestamp, metadata


def _sum_columns() -> list[sa.Column[int] | sa.Column[float]]:
    """Costs in whole micro-USD and the pico-USD left over; energy is null while nobody knows it."""
    names = ("calls", "prompt_tokens", "completion_tokens", "priced", "unpriced")
    whole = [
        sa.Column(name, sa.BigInteger, nullable=False)
        for name in (*names, "cost_micro", "cost_pico_rest")
    ]
    return [*whole, sa.Column("energy_wh", sa.Double), sa.Column("co2_g", sa.Double)]


def _group_columns(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


#: Sums of an hour (`step` hour, `start` 2026-03-01T12) or a day (day, 2026-03-01), in UTC, with
#: histograms of the calls that ended well: JSON objects of counts by bin (`histogram.bin_of`).
call_totals = sa.Table(
    "call_totals",
    metadata,
    *_group_columns("step", "start", "deployment", "tier"),
    *_sum_columns(),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("latency_counts", sa.Text, nullable=False),
    sa.Column("ttft_counts", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("step", "start", "deployment", "tier", name="call_totals_pkey"),
)

#: Routed requests of an hour or a day by score: `bins` is a JSON object of sums by hundredth.
score_totals = sa.Table(
    "score_totals",
    metadata,
    *_group_columns("step", "start", "policy", "tier"),
    sa.Column("bins", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("step", "start", "policy", "tier", name="score_totals_pkey"),
)

#: Sums of a day by tag (`key=value`, empty for calls without any). How many tags a day has here is
#: bounded (`daily_tags`).
daily_tag_totals = sa.Table(
    "daily_tag_totals",
    metadata,
    *_group_columns("tag", "day", "deployment", "model_served", "tier"),
    *_sum_columns(),
    sa.PrimaryKeyConstraint(
        "tag", "day", "deployment", "model_served", "tier", name="daily_tag_totals_pkey"
    ),
    sa.Index("daily_tag_totals_day", "day", "tag"),
    sqlite_with_rowid=False,
)

#: The same by tag and key.
daily_tag_key_totals = sa.Table(
    "daily_tag_key_totals",
    metadata,
    *_group_columns("tag", "day", "key_id"),
    *_sum_columns(),
    sa.PrimaryKeyConstraint("tag", "day", "key_id", name="daily_tag_key_totals_pkey"),
    sa.Index("daily_tag_key_totals_key", "key_id", "day"),
    sqlite_with_rowid=False,
)

#: When rows with a tag were written: an index from tags to rows, by a hash so that it stays small.
#: Whoever reads it checks the tags of the rows of that moment.
ledger_tags = sa.Table(
    "ledger_tags",
    metadata,
    sa.Column("tag_hash", sa.BigInteger, nullable=False),
    sa.Column("ts", UtcTimestamp, nullable=False),
    sa.PrimaryKeyConstraint("tag_hash", "ts", name="ledger_tags_pkey"),
    sqlite_with_rowid=False,
)
