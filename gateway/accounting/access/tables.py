"""The tables of virtual keys and their budgets, in the ledger's database."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.accounting.database import UtcTimestamp, metadata

#: What the id of every virtual key begins with; ids of the environment's keys are plain hex.
ID_PREFIX = "vk_"

#: Keys are kept as SHA-256 digests in hex. `ending` are a key's last characters, to tell it by;
#: `previous_digest` is good until `previous_expires`, so that a client has time to change its key.
#: `models` is a JSON array. A key is never deleted: its rows in the ledger go on naming it.
virtual_keys = sa.Table(
    "virtual_keys",
    metadata,
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("ending", sa.Text, nullable=False),
    sa.Column("previous_digest", sa.Text),
    sa.Column("previous_expires", UtcTimestamp),
    sa.Column("created", UtcTimestamp, nullable=False),
    sa.Column("expires", UtcTimestamp),
    sa.Column("revoked", UtcTimestamp),
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

#: One row: `version` goes up with every change of `virtual_keys`.
key_changes = sa.Table(
    "key_changes",
    metadata,
    sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("id", name="key_changes_pkey"),
)

#: Owns what was reserved for calls of which nobody knows what they cost.
NOBODY = ""

#: What calls in flight may cost at most. The row of a call in the ledger ends its reservation;
#: `expires` ends those of a process that died, any other (`owner`) moves it on. Where the row has
#: no cost, `NOBODY` has it until the budget's period ends.
reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("pico", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("expires", UtcTimestamp, nullable=False),
    sa.PrimaryKeyConstraint("request_id", "attempt", name="reservations_pkey"),
    sa.Index("reservations_key", "key_id"),
    sa.Index("reservations_owner", "owner"),
)

#: How far a budget was used up in a period ("" for one without an end): 100 once a call didn't fit
#: in. `told` is when a webhook had heard of it, `claimed` until when a process is telling it.
budget_marks = sa.Table(
    "budget_marks",
    metadata,
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("period_start", sa.Text, nullable=False),
    sa.Column("budget_pico", sa.BigInteger, nullable=False),
    sa.Column("percent", sa.Integer, nullable=False),
    sa.Column("reached", UtcTimestamp, nullable=False),
    sa.Column("claimed", UtcTimestamp),
    sa.Column("told", UtcTimestamp),
    sa.PrimaryKeyConstraint(
        "key_id", "period_start", "budget_pico", "percent", name="budget_marks_pkey"
    ),
)
