"""Whether a series stays flat: its slope by least squares, with a confidence interval."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: Samples are averaged to this many, so that neighbours tell less of each other.
BLOCKS = 40


@dataclass(slots=True, frozen=True)
class Slope:
    """Units of y a unit of x, and the ends of its 95% interval."""

    value: float
    low: float
    high: float


def slope_of(xs: Sequence[float], ys: Sequence[float]) -> Slope:
    """The slope of y over x, from means of blocks. Raises ValueError below 3 samples."""
    if len(xs) < 3:
        raise ValueError("a slope with an interval needs at least 3 samples")
    size = max(1, len(xs) // BLOCKS)
    x_means, y_means = (_block_means(values, size) for values in (xs, ys))
    line = statistics.linear_regression(x_means, y_means)
    middle = statistics.fmean(x_means)
    residuals = (y - line.intercept - line.slope * x for x, y in zip(x_means, y_means, strict=True))
    freedom = len(x_means) - 2
    variance = sum(one * one for one in residuals) / freedom
    spread = sum((x - middle) ** 2 for x in x_means)
    reach = _t_quantile(freedom) * (variance / spread) ** 0.5
    return Slope(line.slope, line.slope - reach, line.slope + reach)


def _block_means(values: Sequence[float], size: int) -> list[float]:
    starts = range(0, len(values) - size + 1, size)
    return [statistics.fmean(values[start : start + size]) for start in starts]


def _t_quantile(freedom: int) -> float:
    """Student's t at 97.5%, by its expansion around the normal quantile (Fisher and Cornish)."""
    z = statistics.NormalDist().inv_cdf(0.975)
    second = (z**3 + z) / 4
    third = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    fourth = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + second / freedom + third / freedom**2 + fourth / freedom**3
