"""Which tags have daily totals of their own: the first ones of a day, so that totals stay small."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.accounting.totals import daily_tag_totals

#: The most values of one tag name, and the most names, that a UTC day has totals of.
VALUES_A_DAY = 100
NAMES_A_DAY = 20

#: What stands for all further values of a name, and by itself for all further names.
OTHER = "(other)"

#: Days that a writer keeps in mind: today, and those of late rows.
_REMEMBERED_DAYS = 8

#: Any number that nobody else's advisory lock in the same database uses.
_ADVISORY_LOCK = 0x510_7A65


@lru_cache(maxsize=4096)
def tag_names(tags: str) -> tuple[str, ...]:
    """The tags of a row, `key=value` each."""
    return tuple(f"{key}={value}" for key, value in orjson.loads(tags).items())


@lru_cache(maxsize=4096)
def tag_hash(tag: str) -> int:
    """A signed 64-bit number for a tag."""
    digest = hashlib.blake2b(tag.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def stand_ins(tag: str) -> tuple[str, str]:
    """Under what a tag is summed on a day that has no totals of its own for it."""
    return f"{tag.partition('=')[0]}={OTHER}", OTHER


class DailyTags:
    """What a writer knows of each day's tags. Not for several threads at once.

    A tag that has totals on a day has had them from its first call of that day, so a day's total
    is either whole or absent.
    """

    def __init__(self) -> None:
        self._days: dict[str, dict[str, set[str]]] = {}

    def admit(self, connection: Connection, pairs: Iterable[tuple[str, str]]) -> None:
        """Decide on the days and tags of new rows; first thing in their transaction.

        Whoever comes first is admitted, whichever process it is: one at a time looks and decides.
        """
        unknown: dict[str, list[str]] = defaultdict(list)
        needed: set[str] = set()
        for day, tag in sorted(set(pairs)):
            needed.add(day)
            if self._is_open(day, tag):
                unknown[day].append(tag)
        if not unknown:
            return
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        for day, tags in unknown.items():
            self._days.pop(day, None)
            self._days[day] = _stored(connection, day)
            for tag in tags:
                if self._is_open(day, tag):
                    self._days[day].setdefault(tag.partition("=")[0], set()).add(tag)
        for day in [day for day in self._days if day not in needed][:-_REMEMBERED_DAYS]:
            del self._days[day]

    def forget(self) -> None:
        """Nothing that was admitted since the last commit has been stored."""
        self._days.clear()

    def summed_as(self, day: str, tag: str) -> str:
        """The tag itself where it has totals on that day, else what stands for it."""
        names = self._days.get(day, {})
        values = names.get(tag.partition("=")[0])
        if values is None:
            return OTHER
        return tag if tag in values else stand_ins(tag)[0]

    def _is_open(self, day: str, tag: str) -> bool:
        """Whether a tag is unknown and there is still room for it."""
        names = self._days.get(day)
        if names is None:
            return True
        values = names.get(tag.partition("=")[0])
        if values is None:
            return len(names) < NAMES_A_DAY
        return tag not in values and len(values) < VALUES_A_DAY


def _stored(connection: Connection, day: str) -> dict[str, set[str]]:
    total = daily_tag_totals.c
    found = connection.execute(sa.select(total.tag).where(total.day == day).distinct())
    names: dict[str, set[str]] = {}
    for (tag,) in found:
        name, _, value = tag.partition("=")
        if tag not in ("", OTHER) and value != OTHER:
            names.setdefault(name, set()).add(tag)
    return names
