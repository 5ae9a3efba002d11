"""Answers of the Responses API, kept for those who ask for them again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add one table."""
    op.create_table(
        "responses",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("ts", _moment(), nullable=False),
        sa.Column("key_id", sa.Text),
        sa.Column("previous_response_id", sa.Text),
        sa.Column("input_items", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("expires", _moment()),
        sa.PrimaryKeyConstraint("id", name="responses_pkey"),
    )
    op.create_index("responses_expires", "responses", ["expires"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("responses")


def _moment() -> sa.DateTime:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
