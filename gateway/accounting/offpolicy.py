"""Quality at other thresholds, from feedback on answers that the live ones gave.

Self-normalised inverse propensity weighting (Swaminathan and Joachims, NeurIPS 2015): of the
requests that a threshold would send where they went, each counts with 1 over the probability with
which it was sent there. What went elsewhere says nothing about it, so without exploration the
estimate covers only the requests that keep their tier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: With fewer matching answers an interval would promise more than it holds.
MIN_FEEDBACKS = 20

_RESAMPLES = 1000

Floats = NDArray[np.float64]


@dataclass(slots=True, frozen=True)
class RatedAnswer:
    """Feedback on one routed request.

    `rank` is the number of thresholds at or below its score: it goes to the large tier at these.
    """

    rank: int
    went_large: bool
    propensity: float
    feedback: float


@dataclass(slots=True, frozen=True)
class Quality:
    """A mean feedback (0..1) with its 95 % bootstrap interval, and how many answers it rests on."""

    mean: float
    low: float
    high: float
    feedbacks: int


def qualities(
    rated: Sequence[RatedAnswer], thresholds: int, *, seed: int = 0
) -> list[Quality | None]:
    """The quality at each of so many rising thresholds; None where too few answers match."""
    if len(rated) < MIN_FEEDBACKS:
        return [None] * thresholds
    ranks = np.array([one.rank for one in rated])
    large = np.array([one.went_large for one in rated])
    weights = np.array([1 / one.propensity for one in rated])
    worth = weights * np.array([one.feedback for one in rated])
    cells = 2 * ranks + large

    def matching(picked: NDArray[np.int64], values: Floats) -> Floats:
        """The sum of values, at each threshold, over the answers that it would leave in place."""
        sums = np.bincount(cells[picked], values[picked], minlength=2 * (thresholds + 1))
        stay_small = np.cumsum(sums[0::2])[:-1]
        stay_large = np.cumsum(sums[::-2])[::-1][1:]
        return np.asarray(stay_small + stay_large, dtype=np.float64)

    count = len(rated)
    random = np.random.default_rng(seed)
    resamples = (random.integers(0, count, count) for _ in range(_RESAMPLES))
    every = np.arange(count, dtype=np.int64)
    counts = matching(every, np.ones(count))
    with np.errstate(invalid="ignore"):  # a resample may lack any matching answer
        means = matching(every, worth) / matching(every, weights)
        resampled = np.array([matching(one, worth) / matching(one, weights) for one in resamples])
    return [
        _quality(float(means[at]), resampled[:, at], round(float(counts[at])))
        for at in range(thresholds)
    ]


def _quality(mean: float, resampled: Floats, feedbacks: int) -> Quality | None:
    if feedbacks < MIN_FEEDBACKS:
        return None
    low, high = np.quantile(resampled[~np.isnan(resampled)], [0.025, 0.975])
    return Quality(mean, float(low), float(high), feedbacks)
