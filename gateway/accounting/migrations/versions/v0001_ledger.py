"""The ledger and its daily totals."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "ledger",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column(
            "ts", sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite"), nullable=False
        ),
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
        sa.PrimaryKeyConstraint("request_id", "attempt", name="ledger_pkey"),
    )
    op.create_index("ledger_ts", "ledger", ["ts"])
    _create_daily_totals()


def _create_daily_totals() -> None:
    op.create_table(
        "daily_totals",
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("day", "deployment", "model_served", "tier", "key_id")
        ),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in (
                "calls",
                "prompt_tokens",
                "completion_tokens",
                "priced",
                "unpriced",
                "cost_micro",
                "cost_pico_rest",
            )
        ),
        sa.PrimaryKeyConstraint(
            "day", "deployment", "model_served", "tier", "key_id", name="daily_totals_pkey"
        ),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("daily_totals")
    op.drop_table("ledger")
