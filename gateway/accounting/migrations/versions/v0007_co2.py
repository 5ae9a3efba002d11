"""The greenhouse gas that a call caused, in grams of CO2 equivalent."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column."""
    op.add_column("ledger", sa.Column("co2_g", sa.Double))


def downgrade() -> None:
    """Drop what `upgrade` added."""
    op.drop_column("ledger", "co2_g")
