"""How sure a model was of its answer."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ADDED = ("mean_logprob", "min_logprob", "first_token_entropy", "first_token_margin")


def upgrade() -> None:
    """Add four columns."""
    for name in _ADDED:
        op.add_column("ledger", sa.Column(name, sa.Double))


def downgrade() -> None:
    """Drop what `upgrade` added."""
    for name in _ADDED:
        op.drop_column("ledger", name)
