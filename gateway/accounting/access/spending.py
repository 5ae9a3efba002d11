"""What a key has spent in its budget's period, and what its calls in flight may cost still."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.accounting.access.tables import NOBODY, reservations
from gateway.accounting.database import PICO_A_MICRO, daily_totals


@dataclass(slots=True, frozen=True)
class Spending:
    """In whole pico-USD. Of a call of unknown cost, what was reserved for it is spent."""

    spent: int
    reserved: int


def spending_of(connection: Connection, key_id: str, since: date | None, now: datetime) -> Spending:
    """What a key has spent since a day (UTC), and what is reserved for it.

    One statement sees one moment: a call that ends between two would count in neither.
    """
    totals = daily_totals.c
    booked = [totals.key_id == key_id]
    if since is not None:
        booked.append(totals.day >= since.isoformat())
    open_ = [reservations.c.key_id == key_id, reservations.c.expires > now]
    reserved, owner = sa.func.sum(reservations.c.pico), reservations.c.owner
    row = connection.execute(
        sa.select(
            sa.select(sa.func.sum(totals.cost_micro)).where(*booked).scalar_subquery(),
            sa.select(sa.func.sum(totals.cost_pico_rest)).where(*booked).scalar_subquery(),
            sa.select(reserved).where(*open_, owner != NOBODY).scalar_subquery(),
            sa.select(reserved).where(*open_, owner == NOBODY).scalar_subquery(),
        )
    ).one()
    micro, rest, in_flight, unknown = (int(part or 0) for part in row)
    return Spending(micro * PICO_A_MICRO + rest + unknown, in_flight)
