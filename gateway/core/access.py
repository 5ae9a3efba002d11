"""What a virtual key may do: its budget, its rate limits, its models. Never the key itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, get_args

from gateway.core.errors import RateLimited

Period = Literal["day", "week", "month", "total"]
Over = Literal["refuse", "degrade"]
PERIODS: tuple[Period, ...] = get_args(Period)

#: The name that allows routing to any deployment.
ROUTING = "auto"


@dataclass(slots=True, frozen=True)
class Budget:
    """So many pico-USD a period; beyond them calls are refused, or only the small tier answers."""

    pico: int
    period: Period = "total"
    over: Over = "refuse"


@dataclass(slots=True, frozen=True)
class VirtualKey:
    """A key that somebody made for a client. None means no limit of that kind.

    `rpm` are requests, `tpm` tokens a minute; `models` are the names that it may ask for.
    """

    key_id: str
    name: str
    budget: Budget | None = None
    rpm: int | None = None
    tpm: int | None = None
    models: frozenset[str] | None = None

    def allows(self, names: Iterable[str]) -> bool:
        """Whether it may ask for what has these names."""
        return self.models is None or not self.models.isdisjoint(names)


@dataclass(slots=True, frozen=True)
class Rates:
    """How a key stands: headers that tell it, and the refusal where it has asked too often."""

    headers: tuple[tuple[bytes, bytes], ...]
    refusal: RateLimited | None = None


def period_start(period: Period, at: datetime) -> date | None:
    """The first day (UTC) of the period that a moment is in; None where it has no beginning."""
    day = at.astimezone(UTC).date()
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "month":
        return day.replace(day=1)
    return day if period == "day" else None


def period_end(period: Period, at: datetime) -> datetime | None:
    """The moment (UTC) at which the next period begins; None where none does."""
    start = period_start(period, at)
    if start is None:
        return None
    # The 28th and four days is always in the next month.
    following = {
        "day": start + timedelta(days=1),
        "week": start + timedelta(days=7),
        "month": (start.replace(day=28) + timedelta(days=4)).replace(day=1),
    }[period]
    return datetime.combine(following, time(), UTC)
