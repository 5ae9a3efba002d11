"""How a batch of rows is added to every table of sums, in the transaction that writes the rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.accounting.daily_tags import DailyTags, tag_hash, tag_names
from gateway.accounting.database import PICO_A_MICRO, daily_totals
from gateway.accounting.histogram import bin_of, counts_in, counts_text
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

#: What a row adds to a group, before its first one.
_NOTHING = (0, 0, 0, 0, 0, 0, 0, None, None)

#: How many of the sums are whole numbers, and how many of those a bin of scores holds: all.
_WHOLE = 7

#: A client that leaves, or a hedge that is beaten, is nobody's error.
NO_ERRORS = frozenset({"ok", "cancelled"})

#: Rows of one statement. SQLite gives Python's lock away at every statement, and a busy event loop
#: may be slow to give it back: 500 single rows take 0.6 s then, 20 statements 0.1 s. As many
#: parameters as 25 rows have, every SQLite takes.
AT_ONCE = 25


def insert_many(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    on_conflict: str = "",
) -> None:
    """Many rows a statement; past SQLAlchemy's compiler, which takes longer than the database."""
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        statement = _statement(table, tuple(columns), mark, len(part)) + on_conflict
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))


@lru_cache(maxsize=256)
def _statement(table: str, columns: tuple[str, ...], mark: str, rows: int) -> str:
    one = f"({', '.join([mark] * len(columns))})"
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) VALUES {', '.join([one] * rows)}"  # noqa: S608 (our own names)


def add_to_totals(connection: Connection, rows: Sequence[Row], tags: DailyTags) -> None:
    """Add rows of `row_of`, each once. The tags of their days were admitted before.

    Groups come in a fixed order, so that two writers can't lock each other out.
    """
    _add_by_day(connection, rows)
    add_calls(connection, rows)
    add_scores(connection, rows)
    add_tags(connection, rows, tags)


def days_and_tags(rows: Iterable[Row]) -> Iterable[tuple[str, str]]:
    """Each tag with its day, as `DailyTags.admit` wants them."""
    return {(row["ts"][:10], tag) for row in rows for tag in tag_names(row["tags"])}


def _add_by_day(connection: Connection, rows: Iterable[Row]) -> None:
    groups: dict[Group, list[Any]] = defaultdict(lambda: list(_NOTHING))
    for row in rows:
        group = (row["ts"][:10], *_texts(row, "deployment", "model_served", "tier", "key_id"))
        _add(groups[group], _addends(row))
    _add_sums(connection, daily_totals, groups)


def add_calls(connection: Connection, rows: Iterable[Row]) -> None:
    """Add rows to the totals and histograms of their hour and day."""
    groups: dict[Group, list[Any]] = defaultdict(lambda: [*_NOTHING, 0])
    latencies: dict[Group, Counter[int]] = defaultdict(Counter)
    first_tokens: dict[Group, Counter[int]] = defaultdict(Counter)
    for row in rows:
        addends = (*_addends(row), 0 if row["outcome"] in NO_ERRORS else 1)
        for group in _hour_and_day(row, "deployment", "tier"):
            _add(groups[group], addends)
            if row["outcome"] == "ok":
                latencies[group][bin_of(row["latency_ms"])] += 1
                if row["ttft_ms"] is not None:
                    first_tokens[group][bin_of(row["ttft_ms"])] += 1
    columns = (*_key(call_totals), *SUM_COLUMNS, "errors", "latency_counts", "ttft_counts")
    values = [(*group, *groups[group], "{}", "{}") for group in sorted(groups)]
    insert_many(connection, call_totals.name, columns, values, _adding(call_totals, "errors"))
    # The rows are locked now, so nobody else changes the texts before this transaction ends.
    stored = _texts_of(connection, call_totals, groups, ("latency_counts", "ttft_counts"))
    values = [
        (
            *value[:-2],
            counts_text(counts_in(stored[group][0]) + latencies[group]),
            counts_text(counts_in(stored[group][1]) + first_tokens[group]),
        )
        for value in values
        if (group := value[:4]) in latencies
    ]
    replacing = _replacing(call_totals, "latency_counts", "ttft_counts")
    insert_many(connection, call_totals.name, columns, values, replacing)


def add_scores(connection: Connection, rows: Iterable[Row]) -> None:
    """Add the first attempts that were scored to the bins of their hour and day."""
    groups: dict[Group, dict[str, list[int]]] = defaultdict(dict)
    for row in rows:
        if row["score"] is None or row["attempt"] != 1:
            continue
        place = str(min(max(int(row["score"] * 100), 0), 99))
        for group in _hour_and_day(row, "policy", "tier"):
            _add(groups[group].setdefault(place, [0] * _WHOLE), _addends(row)[:_WHOLE])
    columns = (*_key(score_totals), "bins")
    # Makes the rows where there are none, and locks them where there are.
    locking = [(*group, "{}") for group in sorted(groups)]
    kept = f" ON CONFLICT ({', '.join(_key(score_totals))}) DO UPDATE SET bins = score_totals.bins"
    insert_many(connection, score_totals.name, columns, locking, kept)
    stored = _texts_of(connection, score_totals, groups, ("bins",))
    values = []
    for group in sorted(groups):
        bins = orjson.loads(stored[group][0])
        for place, added in groups[group].items():
            _add(bins.setdefault(place, [0] * _WHOLE), added)
        values.append((*group, orjson.dumps(bins).decode()))
    insert_many(connection, score_totals.name, columns, values, _replacing(score_totals, "bins"))


def add_tags(connection: Connection, rows: Iterable[Row], tags: DailyTags) -> None:
    """Add rows to the totals of their tags, and to the index from tags to rows."""
    by_model: dict[Group, list[Any]] = defaultdict(lambda: list(_NOTHING))
    by_key: dict[Group, list[Any]] = defaultdict(lambda: list(_NOTHING))
    index: set[tuple[int, str]] = set()
    for row in rows:
        names, day = tag_names(row["tags"]), row["ts"][:10]
        index.update((tag_hash(name), row["ts"]) for name in names)
        # Two tags that share a stand-in are one call there.
        summed = {tags.summed_as(day, name) for name in names} or {""}
        addends = _addends(row)
        model = _texts(row, "deployment", "model_served", "tier")
        key = row["key_id"] or ""
        for tag in summed:
            _add(by_model[day, tag, *model], addends)
            _add(by_key[day, tag, key], addends)
    _add_sums(connection, daily_tag_totals, by_model)
    _add_sums(connection, daily_tag_key_totals, by_key)
    once = " ON CONFLICT DO NOTHING"
    insert_many(connection, ledger_tags.name, ("tag_hash", "ts"), sorted(index), once)


def _addends(row: Row) -> tuple[Any, ...]:
    """What a row adds, in the order of `SUM_COLUMNS`."""
    pico, tokens = row["cost_pico"], row["prompt_tokens"]
    completion_tokens, energy_wh = row["completion_tokens"] or 0, row["energy_wh"]
    if pico is None:
        unpriced = 0 if tokens is None else 1
        return (1, tokens or 0, completion_tokens, 0, unpriced, 0, 0, energy_wh, row.get("co2_g"))
    micro, rest = divmod(pico, PICO_A_MICRO)
    return (1, tokens or 0, completion_tokens, 1, 0, micro, rest, energy_wh, row.get("co2_g"))


def _add(total: list[Any], addends: Sequence[Any]) -> None:
    for place, addend in enumerate(addends):
        if addend:
            total[place] = addend + (total[place] or 0)
        elif total[place] is None:
            total[place] = addend


def _add_sums(connection: Connection, table: sa.Table, groups: Mapping[Group, list[Any]]) -> None:
    columns = (*_key(table), *SUM_COLUMNS)
    values = [(*group, *groups[group]) for group in sorted(groups)]
    insert_many(connection, table.name, columns, values, _adding(table))


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


def _hour_and_day(row: Row, *names: str) -> tuple[Group, Group]:
    texts, ts = _texts(row, *names), row["ts"]
    return ("hour", ts[:13], *texts), ("day", ts[:10], *texts)


def _texts(row: Row, *names: str) -> Group:
    return tuple(row[name] or "" for name in names)


@lru_cache(maxsize=16)
def _key(table: sa.Table) -> Group:
    return tuple(str(column.name) for column in table.primary_key.columns)
