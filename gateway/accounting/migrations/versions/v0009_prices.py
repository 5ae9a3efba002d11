"""What a call used that has a price of its own, so that it can be priced again."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COUNTS = ("cache_write_1h_tokens", "image_input_tokens", "image_output_tokens", "searches")


def upgrade() -> None:
    """Add five columns."""
    for name in _COUNTS:
        op.add_column("ledger", sa.Column(name, sa.Integer))
    op.add_column("ledger", sa.Column("service_tier", sa.Text))


def downgrade() -> None:
    """Drop what `upgrade` added."""
    for name in ("service_tier", *reversed(_COUNTS)):
        op.drop_column("ledger", name)
