"""How well difficulty scores route, by the definitions of RouteLLM (arXiv 2406.18665, section 2).

A curve is the mean quality over the share of prompts that go to the large tier, highest score
first; prompts with equal scores move together. PGR is the share of the quality gap between the
tiers that is recovered, APGR the area under it (random 0.5), CPT(x) the least share of large calls
that recovers x.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from random import Random
from statistics import fmean


@dataclass(slots=True, frozen=True)
class Scored:
    """One prompt: its difficulty score, and how good either tier's answer was (0 to 1)."""

    score: float
    small: float
    large: float


Point = tuple[float, float]


def quality_curve(prompts: Sequence[Scored]) -> list[Point]:
    """(share sent to large, mean quality), from nothing sent to everything sent."""
    count = len(prompts)
    quality = sum(prompt.small for prompt in prompts)
    points = [(0.0, quality / count)]
    sent = 0
    ordered = sorted(prompts, key=lambda prompt: -prompt.score)
    for _, tied in groupby(ordered, key=lambda prompt: prompt.score):
        for prompt in tied:
            quality += prompt.large - prompt.small
            sent += 1
        points.append((sent / count, quality / count))
    return points


def apgr(prompts: Sequence[Scored]) -> float:
    """Average performance gap recovered; not a number where the tiers are equally good."""
    points = quality_curve(prompts)
    gap = points[-1][1] - points[0][1]
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))
    return (area - points[0][1]) / gap if gap else float("nan")


def call_share_for(prompts: Sequence[Scored], recovered: float) -> float:
    """CPT: the least share of large-tier calls that recovers this share of the gap."""
    points = quality_curve(prompts)
    low, high = points[0][1], points[-1][1]
    return _first_share(points, low + recovered * (high - low))


def _first_share(points: Sequence[Point], quality: float) -> float:
    if points[0][1] >= quality:
        return 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if y1 >= quality - 1e-12:
            return x0 + (x1 - x0) * ((quality - y0) / (y1 - y0) if y1 > y0 else 1.0)
    return 1.0


def auroc(scores: Sequence[float], events: Sequence[bool]) -> float:
    """The probability that a prompt with the event scores above one without; ties count half."""
    positives = sum(events)
    negatives = len(events) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = sum(rank for event, rank in zip(events, _mid_ranks(scores), strict=True) if event)
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def _mid_ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    for _, tied in groupby(order, key=values.__getitem__):
        members = list(tied)
        for index in members:
            ranks[index] = start + (len(members) + 1) / 2
        start += len(members)
    return ranks


def calibration_error(scores: Sequence[float], events: Sequence[float], bins: int = 10) -> float:
    """Expected calibration error over bins of equal width: |mean score - event rate|, weighted."""
    filled: list[list[int]] = [[] for _ in range(bins)]
    for index, score in enumerate(scores):
        filled[min(bins - 1, int(score * bins))].append(index)
    return sum(
        len(members)
        / len(scores)
        * abs(fmean(scores[i] for i in members) - fmean(events[i] for i in members))
        for members in filled
        if members
    )


def apgr_interval(prompts: Sequence[Scored], resamples: int, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of APGR."""
    values = sorted(_resampled_apgr(prompts, resamples, Random(seed)))  # noqa: S311 (statistics)
    return values[int(0.025 * len(values))], values[int(0.975 * len(values)) - 1]


def _resampled_apgr(prompts: Sequence[Scored], resamples: int, random: Random) -> Iterator[float]:
    for _ in range(resamples):
        value = apgr(random.choices(prompts, k=len(prompts)))
        yield value if value == value else 0.5  # noqa: PLR0124 (nan)


def curve_band(
    prompts: Sequence[Scored], resamples: int, *, steps: int = 50, seed: int = 0
) -> list[tuple[float, float, float, float]]:
    """The curve at even shares: (share, quality, and the ends of its 95 % bootstrap interval)."""
    shares = [step / steps for step in range(steps + 1)]
    whole = _at_shares(quality_curve(prompts), shares)
    random = Random(seed)  # noqa: S311 (statistics)
    drawn = [
        _at_shares(quality_curve(random.choices(prompts, k=len(prompts))), shares)
        for _ in range(resamples)
    ]
    band = []
    for place, share in enumerate(shares):
        values = sorted(one[place] for one in drawn)
        low, high = values[int(0.025 * resamples)], values[int(0.975 * resamples) - 1]
        band.append((share, whole[place], low, high))
    return band


def _at_shares(points: Sequence[Point], shares: Sequence[float]) -> list[float]:
    """The curve's quality at rising shares, by linear interpolation."""
    found = []
    place = 0
    for share in shares:
        while place + 2 < len(points) and points[place + 1][0] < share:
            place += 1
        (x0, y0), (x1, y1) = points[place], points[place + 1]
        found.append(y0 + (y1 - y0) * min(1.0, (share - x0) / (x1 - x0)))
    return found
