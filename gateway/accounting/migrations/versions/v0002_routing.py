"""What routing learns from: the policy and the second opinions of a row, feedback, messages."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ADDED = ("policy", "confidence", "shadow_version", "shadow_score")


def upgrade() -> None:
    """Add four columns and two tables."""
    op.add_column("ledger", sa.Column("policy", sa.Text))
    op.add_column("ledger", sa.Column("confidence", sa.Double))
    op.add_column("ledger", sa.Column("shadow_version", sa.Text))
    op.add_column("ledger", sa.Column("shadow_score", sa.Double))
    op.create_table(
        "feedback",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("ts", _moment(), nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("comment", sa.Text),
        sa.Column("key_id", sa.Text),
        sa.PrimaryKeyConstraint("request_id", "ts", name="feedback_pkey"),
    )
    op.create_index("feedback_ts", "feedback", ["ts"])
    op.create_table(
        "conversations",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("ts", _moment(), nullable=False),
        sa.Column("messages", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="conversations_pkey"),
    )
    op.create_index("conversations_ts", "conversations", ["ts"])


def downgrade() -> None:
    """Drop what `upgrade` added."""
    op.drop_table("conversations")
    op.drop_table("feedback")
    for name in _ADDED:
        op.drop_column("ledger", name)


def _moment() -> sa.DateTime:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
