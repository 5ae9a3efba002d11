"""Tokens that have prices of their own: what a prompt cache took, and audio."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ADDED = ("cache_write_tokens", "audio_input_tokens", "audio_output_tokens")


def upgrade() -> None:
    """Add three columns."""
    for name in _ADDED:
        op.add_column("ledger", sa.Column(name, sa.Integer))


def downgrade() -> None:
    """Drop what `upgrade` added."""
    for name in _ADDED:
        op.drop_column("ledger", name)
