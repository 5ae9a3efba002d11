"""Counts by logarithmic bins, from which any quantile follows to within 5 %."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import orjson

#: Half a bin is 4.9 %.
_RATIO = 1.1
_LOG_RATIO = math.log(_RATIO)
_LOWEST, _HIGHEST = -48, 210  # 0.01 ms, 5 days


def bin_of(milliseconds: float) -> int:
    """The bin of a duration."""
    if not milliseconds > 0.01:
        return _LOWEST
    return min(math.floor(math.log(milliseconds) / _LOG_RATIO), _HIGHEST)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The duration in milliseconds that a share (0..1) of the counted ones don't pass, or None."""
    rank = math.ceil(share * sum(counts.values()))
    passed = 0
    for place in sorted(counts):
        passed += counts[place]
        if passed >= rank:
            return round(math.exp((place + 0.5) * _LOG_RATIO), 3)
    return None


def with_counts(text: str, added: Mapping[int, int]) -> str:
    """A stored histogram with more counts in it."""
    counts = counts_in(text)
    counts.update(added)
    return orjson.dumps({str(place): count for place, count in counts.items()}).decode()


def counts_in(text: str) -> Counter[int]:
    """The counts of a stored text, a JSON object by bin."""
    return Counter({int(place): count for place, count in orjson.loads(text).items()})
