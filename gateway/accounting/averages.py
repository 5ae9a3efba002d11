"""What a deployment's calls have cost on average, from the daily totals."""

from __future__ import annotations

from decimal import Decimal

import sqlalchemy as sa

from gateway.accounting.database import PICO_A_MICRO, daily_totals
from gateway.accounting.pricing import usd_of
from gateway.accounting.query import LedgerReader


def average_usd_per_million_output(reader: LedgerReader, deployment: str) -> Decimal | None:
    """USD per million output tokens on the days when every call was priced; None without any.

    Raises LedgerUnavailable when the database can't be read.
    """
    total = daily_totals.c
    sums = sa.select(
        sa.func.sum(total.cost_micro),
        sa.func.sum(total.cost_pico_rest),
        sa.func.sum(total.completion_tokens),
    ).where(total.deployment == deployment, total.unpriced == 0)
    with reader.connection() as connection:
        if connection is None:
            return None
        micro, pico_rest, tokens = (int(part or 0) for part in connection.execute(sums).one())
    return usd_of(micro * PICO_A_MICRO + pico_rest) * 1_000_000 / tokens if tokens else None
