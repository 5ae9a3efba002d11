"""What a dashboard shows of the ledger, from sums alone: spend, latency and scores over time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from operator import add
from typing import TYPE_CHECKING, Any, Literal

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.accounting.histogram import counts_in, quantile
from gateway.accounting.query import LedgerReader
from gateway.accounting.rollup import ESCALATED, REPEATED
from gateway.accounting.sums import SUM_COLUMNS, Sums
from gateway.accounting.totals import call_totals, score_totals

if TYPE_CHECKING:
    from sqlalchemy.sql.elements import ColumnElement

Step = Literal["hour", "day"]

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)
_HOUR_TEXT = "%Y-%m-%dT%H"


class Overview:
    """Reads sums and never a row, so that its time doesn't grow with the ledger.

    Intervals are `since` ≤ t < `until`, aware moments, widened to whole UTC hours (to days, where
    the hours are deleted already). Every method blocks, and raises LedgerUnavailable when the
    database can't be read; without a ledger the lists are empty.
    """

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self._has_sums = False

    def spend(self, since: datetime, until: datetime, step: Step) -> list[dict[str, Any]]:
        """By hour or day and tier, in order of time: `{start, tier, calls, errors, cost_usd, …}`.

        `cost_usd` is an exact decimal, null where no call was priced; `unpriced` counts the calls
        that used tokens without a price. `energy_wh` and `co2_g` are null where nobody knows them.
        `errors` are the calls that neither ended well nor were cancelled.
        """
        columns = [call_totals.c[name] for name in ("start", "tier", *SUM_COLUMNS, "errors")]
        found: dict[tuple[str, str], tuple[Sums, int]] = {}
        with self._reading() as connection:
            rows = [] if connection is None else self._rows(connection, columns, since, until, step)
        for start, tier, *parts, errors in rows:
            group = (_iso(start if step == "hour" else start[:10]), tier)
            sums, earlier = found.get(group, (Sums(), 0))
            sums.add(parts)
            found[group] = (sums, earlier + errors)
        return [
            {"start": start, "tier": tier, "errors": errors, **sums.shown()}
            for (start, tier), (sums, errors) in sorted(found.items())
        ]

    def latency(self, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """By deployment: `{deployment, tier, calls, errors, p50_ms, p99_ms, ttft_p50_ms, …}`.

        Quantiles are of the calls that ended well, to within 5 %; null where there were none.
        """
        names = ("deployment", "tier", "calls", "errors", "latency_counts", "ttft_counts")
        columns = [call_totals.c[name] for name in names]
        numbers: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        whole: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        first: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        with self._reading() as connection:
            rows = [] if connection is None else self._rows(connection, columns, since, until)
        for deployment, tier, calls, errors, latency_counts, ttft_counts in rows:
            group = (deployment, tier)
            numbers[group][0] += calls
            numbers[group][1] += errors
            whole[group].update(counts_in(latency_counts))
            first[group].update(counts_in(ttft_counts))
        return [
            {
                "deployment": group[0],
                "tier": group[1],
                "calls": calls,
                "errors": errors,
                "p50_ms": quantile(whole[group], 0.5),
                "p99_ms": quantile(whole[group], 0.99),
                "ttft_p50_ms": quantile(first[group], 0.5),
                "ttft_p99_ms": quantile(first[group], 0.99),
            }
            for group, (calls, errors) in sorted(numbers.items())
        ]

    def scores(self, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Requests by policy, tier and bin 0..99 of the score, as their first attempts were routed.

        `{policy, tier, bin, requests, prompt_tokens, completion_tokens, cost_usd, unpriced}`; the
        policy is null where a request named none.
        """
        groups = self._scored(since, until)
        bins = {group: sums for group, sums in groups.items() if group[2].isdigit()}
        shown = ("prompt_tokens", "completion_tokens", "cost_usd", "unpriced")
        return [
            {
                "policy": policy or None,
                "tier": tier,
                "bin": int(place),
                "requests": sums.calls,
                **{name: sums.shown()[name] for name in shown},
            }
            for (policy, tier, place), sums in sorted(bins.items(), key=_by_bin)
        ]

    def later_attempts(self, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """What attempts after the first one cost, of requests that were scored.

        `{policy, tier, escalated, calls, cost_usd, unpriced}`; `escalated` where a cascade gave the
        small tier's answer up, otherwise they are retries, fallbacks and hedges.
        """
        groups = self._scored(since, until)
        return [
            {
                "policy": policy or None,
                "tier": tier,
                "escalated": place == ESCALATED,
                "calls": sums.calls,
                "cost_usd": sums.shown()["cost_usd"],
                "unpriced": sums.unpriced,
            }
            for (policy, tier, place), sums in sorted(groups.items())
            if place in {ESCALATED, REPEATED}
        ]

    def _scored(self, since: datetime, until: datetime) -> dict[tuple[str, str, str], Sums]:
        """By policy, tier and place among the bins."""
        columns = [score_totals.c[name] for name in ("policy", "tier", "bins")]
        totals: dict[tuple[str, str, str], list[int]] = {}
        with self._reading() as connection:
            rows = [] if connection is None else self._rows(connection, columns, since, until)
        for policy, tier, bins in rows:
            for place, parts in orjson.loads(bins).items():
                group = (policy, tier, place)
                earlier = totals.get(group)
                totals[group] = parts if earlier is None else [*map(add, earlier, parts)]
        groups: dict[tuple[str, str, str], Sums] = defaultdict(Sums)
        for group, parts in totals.items():
            groups[group].add((*parts, None, None))
        return groups

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """A connection, or None where there are no sums yet."""
        with self._reader.connection() as connection:
            if connection is not None and not self._has_sums:
                self._has_sums = sa.inspect(connection).has_table(call_totals.name)
            yield connection if self._has_sums else None

    def _rows(
        self,
        connection: Connection,
        columns: Sequence[sa.Column[Any]],
        since: datetime,
        until: datetime,
        step: Step = "day",
    ) -> Sequence[Sequence[Any]]:
        """The sums of an interval; with hours, or with days and the hours at its ends."""
        table = columns[0].table
        start, end = _hour_of(since), _hour_of(until + _HOUR - _TICK)
        if step == "hour":
            span = _between(table, "hour", f"{start:{_HOUR_TEXT}}", f"{end:{_HOUR_TEXT}}")
            return [tuple(row) for row in connection.execute(sa.select(*columns).where(span))]
        hours = sa.select(sa.func.min(table.c.start)).where(table.c.step == "hour")
        oldest = str(connection.scalar(hours) or "9")[:10]
        spans = (_span(table, one, oldest) for one in _cut_at_days(start, end))
        return [
            tuple(row)
            for span in spans
            for row in connection.execute(sa.select(*columns).where(span))
        ]


def _by_bin(item: tuple[tuple[str, str, str], Sums]) -> tuple[str, str, int]:
    policy, tier, place = item[0]
    return policy, tier, int(place)


def _cut_at_days(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """An interval of whole hours as at most three: before, of, and after its whole days."""
    first = _day_of(start + _DAY - _TICK)
    last = _day_of(end)
    if first > last:
        return [(start, end)] if start < end else []
    cut = [(start, first), (first, last), (last, end)]
    return [(begin, stop) for begin, stop in cut if begin < stop]


def _span(
    table: sa.FromClause, interval: tuple[datetime, datetime], oldest: str
) -> ColumnElement[bool]:
    """What picks an interval's sums: days where it is whole days, or its hours are gone."""
    begin, stop = interval
    if stop - begin >= _DAY or f"{begin:%Y-%m-%d}" < oldest:
        return _between(
            table, "day", f"{begin:%Y-%m-%d}", f"{_day_of(stop + _DAY - _TICK):%Y-%m-%d}"
        )
    return _between(table, "hour", f"{begin:{_HOUR_TEXT}}", f"{stop:{_HOUR_TEXT}}")


def _between(table: sa.FromClause, step: Step, start: str, end: str) -> ColumnElement[bool]:
    return sa.and_(table.c.step == step, table.c.start >= start, table.c.start < end)


def _hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _day_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _iso(start: str) -> str:
    """The beginning of an hour or a day as an ISO-8601 moment."""
    return f"{start}:00:00Z" if "T" in start else f"{start}T00:00:00Z"
