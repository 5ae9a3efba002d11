"""Virtual keys, and what is reserved and spent with them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add four tables, and an index for what one key has spent."""
    op.create_table(
        "virtual_keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("ending", sa.Text, nullable=False),
        sa.Column("previous_digest", sa.Text),
        sa.Column("previous_expires", _moment()),
        sa.Column("created", _moment(), nullable=False),
        sa.Column("expires", _moment()),
        sa.Column("revoked", _moment()),
        sa.Column("budget_pico", sa.BigInteger),
        sa.Column("budget_period", sa.Text),
        sa.Column("budget_over", sa.Text),
        sa.Column("rpm", sa.Integer),
        sa.Column("tpm", sa.Integer),
        sa.Column("models", sa.Text),
        sa.PrimaryKeyConstraint("id", name="virtual_keys_pkey"),
        sa.UniqueConstraint("name", name="virtual_keys_name"),
        sa.UniqueConstraint("digest", name="virtual_keys_digest"),
    )
    changes = op.create_table(
        "key_changes",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="key_changes_pkey"),
    )
    op.bulk_insert(changes, [{"id": 1, "version": 0}])
    op.create_table(
        "reservations",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("pico", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("expires", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "attempt", name="reservations_pkey"),
    )
    op.create_index("reservations_key", "reservations", ["key_id"])
    op.create_index("reservations_owner", "reservations", ["owner"])
    op.create_table(
        "budget_marks",
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Text, nullable=False),
        sa.Column("budget_pico", sa.BigInteger, nullable=False),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("reached", _moment(), nullable=False),
        sa.Column("claimed", _moment()),
        sa.Column("told", _moment()),
        sa.PrimaryKeyConstraint(
            "key_id", "period_start", "budget_pico", "percent", name="budget_marks_pkey"
        ),
    )


def downgrade() -> None:
    """Drop what `upgrade` added."""
    for table in ("budget_marks", "reservations", "key_changes", "virtual_keys"):
        op.drop_table(table)


def _moment() -> sa.DateTime:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
