"""Thresholds solved from samples: for a quality kept, a share, or an amount a day.

Quality is promised by Learn-then-Test (Angelopoulos et al. 2021, arXiv 2110.01052): thresholds
are tested in a fixed order, from everything large upwards, each against "quality falls short",
and the last one that passed is taken. The plug-in threshold, whose quality just reaches the
target on the samples, keeps the promise on about half of fresh ones only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from math import log, sqrt
from statistics import NormalDist

#: Fewer samples than this promise nothing.
LEAST_SAMPLES = 200
LEAST_SCORES = 100


class TooFewData(Exception):
    """No threshold can be promised from these samples; the message says why."""


@dataclass(slots=True, frozen=True)
class Sample:
    """What one request is worth on either tier.

    With both outcomes known these are the two qualities (0..1). With one known, seen with
    probability p: that quality divided by p, and 0 for the other (inverse-propensity weighting).
    """

    score: float
    small: float
    large: float


@dataclass(slots=True, frozen=True)
class Solved:
    """A threshold, what it is expected to give, and the 95 % interval of that."""

    threshold: float
    value: float
    low: float
    high: float
    samples: int


def solve_quality(
    samples: Sequence[Sample],
    quality: float,
    confidence: float,
    *,
    reach: float = 1.0,
    least: int = LEAST_SAMPLES,
) -> Solved:
    """The highest threshold that keeps `quality` of the large tier's, at a stated confidence.

    `reach` is the largest value that an outcome might have had, seen or not: 1, or 1 over the
    smallest propensity. Raises TooFewData.
    """
    count = len(samples)
    if count < least:
        raise TooFewData(f"{count} outcomes are known, {least} are needed")
    ordered = sorted(samples, key=lambda one: one.score)
    quantile = NormalDist().inv_cdf(confidence)
    # Bernstein's second term: a few rare, heavily weighted outcomes hide what they would have said.
    slack = reach * log(1 / (1 - confidence)) / (3 * count)
    when_large = [(1 - quality) * one.large for one in ordered]
    when_small = [one.small - quality * one.large for one in ordered]
    sums = _Sums(when_small, when_large)
    passed: float | None = None
    for below in _cuts([one.score for one in ordered]):
        mean, deviation = sums.at(below)
        if mean < quantile * deviation / sqrt(count) + slack:
            break
        passed = 1.0 if below == count else ordered[below].score
    if passed is None:
        raise TooFewData(
            f"with {count} outcomes not even sending everything to the large tier can be shown to "
            f"keep {quality:g} of its quality with confidence {confidence:g}"
        )
    return _with_interval(ordered, passed)


def quality_kept(samples: Sequence[Sample], threshold: float) -> float:
    """The share of the large tier's quality that a threshold keeps on the samples."""
    large = sum(one.large for one in samples)
    kept = sum(one.large if one.score >= threshold else one.small for one in samples)
    return kept / large if large else 1.0


def solve_share(scores: Sequence[float], share: float, *, least: int = LEAST_SCORES) -> Solved:
    """The threshold above which `share` of the scores lies. Raises TooFewData."""
    count = len(scores)
    if count < least:
        raise TooFewData(f"{count} scored requests are known, {least} are needed")
    ordered = sorted(scores)
    place = round(count * (1 - share))
    if 0 < place < count and ordered[place - 1] == ordered[place]:
        place = bisect_right(ordered, ordered[place])  # equal scores go together
    threshold = ordered[place] if place < count else 1.0
    value = sum(score >= threshold for score in ordered) / count
    error = 1.96 * sqrt(max(value * (1 - value), 1 / count) / count)
    return Solved(threshold, value, max(0.0, value - error), min(1.0, value + error), count)


@dataclass(slots=True, frozen=True)
class Priced:
    """A request's score and what it costs on either tier, in USD."""

    score: float
    small_usd: float
    large_usd: float


def solve_spend(
    requests: Sequence[Priced], days: float, usd_per_day: float, *, least: int = LEAST_SCORES
) -> Solved:
    """The lowest threshold that spends no more than `usd_per_day`, at the requests' own pace.

    `days` is the time over which they came. Raises TooFewData, also where even the small tier
    alone costs more.
    """
    count = len(requests)
    if count < least:
        raise TooFewData(f"{count} priced requests are known, {least} are needed")
    ordered = sorted(requests, key=lambda one: -one.score)
    spent = sum(one.small_usd for one in ordered) / days
    if spent > usd_per_day:
        raise TooFewData(f"the small tier alone costs {spent:.4g} USD a day")
    threshold = 1.0
    for score, equal in groupby(ordered, key=lambda one: one.score):
        more = sum(one.large_usd - one.small_usd for one in equal) / days
        if spent + more > usd_per_day:
            break
        spent, threshold = spent + more, score
    costs = [one.large_usd if one.score >= threshold else one.small_usd for one in ordered]
    mean = sum(costs) / count
    deviation = sqrt(sum((cost - mean) ** 2 for cost in costs) / max(1, count - 1))
    # The number of requests a day varies too (as a Poisson count does).
    error = 1.96 * sqrt(count * (deviation**2 + mean**2)) / days
    value = sum(costs) / days
    return Solved(threshold, value, max(0.0, value - error), value + error, count)


#: Watched answers of the small tier, and ratings of the large one, that a cascade is solved on.
LEAST_WATCHED = 100
LEAST_LARGE = 30


def solve_confidence(
    watched: Sequence[tuple[float, float]],
    large_ratings: Sequence[float],
    quality: float,
    confidence: float,
) -> Solved:
    """The least confidence (0..1) of a cascade whose committed answers keep `quality` of the large.

    `watched` are (confidence, rating) of answers that were committed, `large_ratings` those of the
    large tier on requests of the same kind. Nothing is known below the least confidence that was
    watched. Tested from the surest
    answers down, at the stated confidence (Learn-then-Test); `value` is the mean rating of the
    answers that stay committed. Raises TooFewData.
    """
    if len(watched) < LEAST_WATCHED or len(large_ratings) < LEAST_LARGE:
        raise TooFewData(
            f"{len(watched)} watched answers and {len(large_ratings)} of the large tier are rated, "
            f"{LEAST_WATCHED} and {LEAST_LARGE} are needed"
        )
    large = sum(large_ratings) / len(large_ratings)
    large_spread = sum((rating - large) ** 2 for rating in large_ratings) / len(large_ratings)
    needed = quality * large
    needed_variance = quality**2 * large_spread / len(large_ratings)
    quantile = NormalDist().inv_cdf(confidence)
    surest = sorted(watched, reverse=True)
    step = max(LEAST_LARGE, len(surest) // 20)
    passed: Solved | None = None
    for count in [*range(2 * step, len(surest), step), len(surest)]:
        ratings = [rating for _, rating in surest[:count]]
        mean = sum(ratings) / count
        # Never less than that of one answer: equal ratings don't mean that all are.
        spread = sum((rating - mean) ** 2 for rating in ratings) / count + 1 / count**2
        error = sqrt(spread / count)
        if mean - quantile * sqrt(error**2 + needed_variance) < needed:
            break
        passed = Solved(surest[count - 1][0], mean, mean - 1.96 * error, mean + 1.96 * error, count)
    if passed is None:
        raise TooFewData("not even the surest answers of the small tier reach that quality")
    return passed


class _Sums:
    """Mean and deviation of a quantity that is one list's below a cut and another's above it."""

    def __init__(self, below: Sequence[float], above: Sequence[float]) -> None:
        self._count = len(below)
        self._below = [0.0, *accumulate(below)]
        self._below_squares = [0.0, *accumulate(value * value for value in below)]
        self._above = [0.0, *accumulate(above)]
        self._above_squares = [0.0, *accumulate(value * value for value in above)]

    def at(self, cut: int) -> tuple[float, float]:
        total = self._below[cut] + self._above[-1] - self._above[cut]
        squares = self._below_squares[cut] + self._above_squares[-1] - self._above_squares[cut]
        mean = total / self._count
        return mean, sqrt(max(0.0, squares / self._count - mean * mean))


def _cuts(scores: Sequence[float]) -> list[int]:
    """Where a threshold may lie, as the number of scores below it; equal scores stay together."""
    count = len(scores)
    step = max(1, count // 400)
    cuts = [0]
    for place in range(step, count, step):
        if scores[place] > scores[cuts[-1]]:
            first = place
            while first and scores[first - 1] == scores[place]:
                first -= 1
            cuts.append(first)
    return [*dict.fromkeys(cuts), count]


def _with_interval(samples: Sequence[Sample], threshold: float) -> Solved:
    """The quality kept at a threshold, by the delta method for a ratio of means."""
    count = len(samples)
    kept = quality_kept(samples, threshold)
    mean_large = sum(one.large for one in samples) / count
    residuals = [
        (one.large if one.score >= threshold else one.small) - kept * one.large for one in samples
    ]
    deviation = sqrt(sum(value * value for value in residuals) / count)
    error = 1.96 * deviation / sqrt(count) / (mean_large or 1.0)
    return Solved(threshold, kept, kept - error, kept + error, count)
