"""How a batch of rows is added to every table of sums, in the transaction that writes the rows."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.accounting.bulk import insert_many
from gateway.accounting.daily_tags import DailyTags, tag_hash, tag_names
from gateway.accounting.database import PICO_A_MICRO, daily_totals
from gateway.accounting.histogram import bin_of, with_counts
from gateway.accounting.sums import SUM_COLUMNS
from gateway.accounting.totals import (
    call_totals,
    daily_tag_key_totals,
    daily_tag_totals,
    ledger_tags,
    score_totals,
)

Row = Mapping[str, Any]
Group = tuple[str, ...]

Addends = tuple[int, int, int, int, int, int, int, float | None, float | None]
Addition = tuple[Row, Addends]

#: How many of the sums are whole numbers; a bin of scores holds those.
_WHOLE = 7

#: The least score of each bin after the first; a product would round some of them down.
_HUNDREDTHS = tuple(place / 100 for place in range(1, 100))

#: What calls without tags are summed under.
_UNTAGGED = frozenset({""})

#: Where the bins hold what attempts after the first one took.
ESCALATED, REPEATED = "escalated", "repeated"

#: A client that leaves, or a hedge that is beaten, is nobody's error.
NO_ERRORS = frozenset({"ok", "cancelled"})


def add_to_totals(connection: Connection, rows: Sequence[Row], tags: DailyTags) -> None:
    """Add rows of `row_of`, each once. The tags of their days were admitted before.

    Groups come in a fixed order, so that two writers can't lock each other out.
    """
    additions = additions_of(rows)
    _add_by_day(connection, additions)
    add_calls(connection, additions)
    add_scores(connection, additions)
    add_tags(connection, additions, tags)


def additions_of(rows: Iterable[Row]) -> list[Addition]:
    """Each row with what it adds, in the order of `SUM_COLUMNS`."""
    return [(row, _addends(row)) for row in rows]


def days_and_tags(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Each tag with its day, as `DailyTags.admit` wants them."""
    return {(row["ts"][:10], tag) for row in rows for tag in tag_names(row["tags"])}


def _add_by_day(connection: Connection, additions: Iterable[Addition]) -> None:
    groups: dict[Group, list[Any]] = defaultdict(_nothing)
    for row, addends in additions:
        model, key = row["model_served"] or "", row["key_id"] or ""
        _add(groups[row["ts"][:10], row["deployment"], model, row["tier"], key], addends)
    _add_sums(connection, daily_totals, groups)


def add_calls(connection: Connection, additions: Iterable[Addition]) -> None:
    """Add rows to the totals and histograms of their hour and day."""
    hours: dict[Group, _Calls] = defaultdict(_Calls)
    for row, addends in additions:
        calls = hours["hour", row["ts"][:13], row["deployment"], row["tier"]]
        _add(calls.sums, addends)
        outcome = row["outcome"]
        if outcome == "ok":
            calls.latencies[bin_of(row["latency_ms"])] += 1
            if row["ttft_ms"] is not None:
                calls.first_tokens[bin_of(row["ttft_ms"])] += 1
        elif outcome not in NO_ERRORS:
            calls.errors += 1
    groups: dict[Group, _Calls] = defaultdict(_Calls)
    for (_, start, *rest), calls in hours.items():
        for group in (("hour", start, *rest), ("day", start[:10], *rest)):
            groups[group].take(calls)
    columns = (*_key(call_totals), *SUM_COLUMNS, "errors", "latency_counts", "ttft_counts")
    ordered = sorted(groups)
    values = [(*group, *groups[group].sums, groups[group].errors, "{}", "{}") for group in ordered]
    insert_many(connection, call_totals, columns, values, _adding(call_totals, "errors"))
    # The rows are locked now, so nobody else changes the texts before this transaction ends.
    stored = _texts_of(connection, call_totals, groups, ("latency_counts", "ttft_counts"))
    values = [
        (*value[:-2], *groups[group].counts_with(*stored[group]))
        for group, value in zip(ordered, values, strict=True)
        if groups[group].latencies
    ]
    replacing = _replacing(call_totals, "latency_counts", "ttft_counts")
    insert_many(connection, call_totals, columns, values, replacing)


def add_scores(connection: Connection, additions: Iterable[Addition]) -> None:
    """Add attempts at scored requests to their hour and day: first ones by score, others apart."""
    hours: dict[Group, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(_nothing))
    for row, addends in additions:
        score = row["score"]
        if score is not None:
            place = str(bisect_right(_HUNDREDTHS, score))
            if row["attempt"] > 1:
                place = ESCALATED if row["reason"] == ESCALATED else REPEATED
            _add(hours["hour", row["ts"][:13], row["policy"] or "", row["tier"]][place], addends)
    groups: dict[Group, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(_nothing))
    for (_, start, *rest), bins in hours.items():
        for place, sums in bins.items():
            _add(groups["hour", start, *rest][place], sums)
            _add(groups["day", start[:10], *rest][place], sums)
    columns = (*_key(score_totals), "bins")
    # Makes the rows where there are none, and locks them where there are.
    locking = [(*group, "{}") for group in sorted(groups)]
    kept = f" ON CONFLICT ({', '.join(_key(score_totals))}) DO UPDATE SET bins = score_totals.bins"
    insert_many(connection, score_totals, columns, locking, kept)
    stored = _texts_of(connection, score_totals, groups, ("bins",))
    values = []
    for group in sorted(groups):
        bins = orjson.loads(stored[group][0])
        for place, added in groups[group].items():
            earlier = bins.get(place, (0,) * _WHOLE)
            bins[place] = [one + more for one, more in zip(earlier, added, strict=False)]
        values.append((*group, orjson.dumps(bins).decode()))
    insert_many(connection, score_totals, columns, values, _replacing(score_totals, "bins"))


def add_tags(connection: Connection, additions: Iterable[Addition], tags: DailyTags) -> None:
    """Add rows to the totals of their tags, and to the index from tags to rows."""
    by_model: dict[Group, list[Any]] = defaultdict(_nothing)
    by_key: dict[Group, list[Any]] = defaultdict(_nothing)
    index: set[tuple[int, str]] = set()
    for row, addends in additions:
        names, ts = tag_names(row["tags"]), row["ts"]
        day, key = ts[:10], row["key_id"] or ""
        deployment, model, tier = row["deployment"], row["model_served"] or "", row["tier"]
        # Two tags that share a stand-in are one call there.
        for tag in {tags.summed_as(day, name) for name in names} or _UNTAGGED:
            _add(by_model[tag, day, deployment, model, tier], addends)
            _add(by_key[tag, day, key], addends)
        for name in names:
            index.add((tag_hash(name), ts))
    _add_sums(connection, daily_tag_totals, by_model)
    _add_sums(connection, daily_tag_key_totals, by_key)
    once = " ON CONFLICT DO NOTHING"
    insert_many(connection, ledger_tags, ("tag_hash", "ts"), sorted(index), once)


class _Calls:
    """What a batch adds to an hour or a day of a deployment."""

    __slots__ = ("errors", "first_tokens", "latencies", "sums")

    def __init__(self) -> None:
        self.sums = _nothing()
        self.errors = 0
        self.latencies: dict[int, int] = defaultdict(int)
        self.first_tokens: dict[int, int] = defaultdict(int)

    def take(self, other: _Calls) -> None:
        """Add another one."""
        _add(self.sums, other.sums)
        self.errors += other.errors
        for place, count in other.latencies.items():
            self.latencies[place] += count
        for place, count in other.first_tokens.items():
            self.first_tokens[place] += count

    def counts_with(self, latency_counts: str, ttft_counts: str) -> tuple[str, str]:
        """The stored histograms with these calls in them."""
        return with_counts(latency_counts, self.latencies), with_counts(
            ttft_counts, self.first_tokens
        )


def _addends(row: Row) -> Addends:
    pico, tokens = row["cost_pico"], row["prompt_tokens"]
    completion_tokens, energy_wh = row["completion_tokens"] or 0, row["energy_wh"]
    if pico is None:
        unpriced = 0 if tokens is None else 1
        return (1, tokens or 0, completion_tokens, 0, unpriced, 0, 0, energy_wh, row.get("co2_g"))
    micro, rest = divmod(pico, PICO_A_MICRO)
    return (1, tokens or 0, completion_tokens, 1, 0, micro, rest, energy_wh, row.get("co2_g"))


def _nothing() -> list[Any]:
    return [0, 0, 0, 0, 0, 0, 0, None, None]


def _add(total: list[Any], addends: Sequence[Any]) -> None:
    """Spelt out, because it runs several times for each row."""
    calls, prompt, completion, priced, unpriced, micro, rest, energy, co2 = addends
    total[0] += calls
    total[1] += prompt
    total[2] += completion
    total[3] += priced
    total[4] += unpriced
    total[5] += micro
    total[6] += rest
    if energy is not None:
        total[7] = energy + (total[7] or 0.0)
    if co2 is not None:
        total[8] = co2 + (total[8] or 0.0)


def _add_sums(connection: Connection, table: sa.Table, groups: Mapping[Group, list[Any]]) -> None:
    columns = (*_key(table), *SUM_COLUMNS)
    values = [(*group, *groups[group]) for group in sorted(groups)]
    insert_many(connection, table, columns, values, _adding(table))


@lru_cache(maxsize=16)
def _adding(table: sa.Table, *further: str) -> str:
    name = table.name
    sums = [f"{one} = {name}.{one} + excluded.{one}" for one in (*SUM_COLUMNS[:_WHOLE], *further)]
    sums += [
        f"{one} = coalesce({name}.{one} + excluded.{one}, {name}.{one}, excluded.{one})"
        for one in SUM_COLUMNS[_WHOLE:]
    ]
    return f" ON CONFLICT ({', '.join(_key(table))}) DO UPDATE SET {', '.join(sums)}"


@lru_cache(maxsize=16)
def _replacing(table: sa.Table, *columns: str) -> str:
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f" ON CONFLICT ({', '.join(_key(table))}) DO UPDATE SET {sets}"


def _texts_of(
    connection: Connection, table: sa.Table, groups: Iterable[Group], columns: Sequence[str]
) -> dict[Group, tuple[str, ...]]:
    key = [table.c[name] for name in _key(table)]
    starts = sorted({group[1] for group in groups})
    statement = sa.select(*key, *(table.c[name] for name in columns)).where(
        table.c.step.in_(("hour", "day")), table.c.start.in_(starts)
    )
    found = connection.execute(statement)
    return {tuple(row[: len(key)]): tuple(row[len(key) :]) for row in found}


@lru_cache(maxsize=16)
def _key(table: sa.Table) -> Group:
    return tuple(str(column.name) for column in table.primary_key.columns)
