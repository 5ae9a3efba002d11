"""Whether a new router may take over: on held-out traffic, against the current one and chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Fewer held-out ratings, or fewer of either tier, prove nothing.
LEAST_RATED = 200
LEAST_OF_A_TIER = 30
#: At one share alone, two routers that agree on who is hardest can't be told apart.
SHARES = tuple(step / 10 for step in range(1, 10))
_RESAMPLES = 500


@dataclass(slots=True, frozen=True)
class Judged:
    """A held-out request: both routers' scores, and the rating of the tier that was taken."""

    current: float
    new: float
    is_large: bool
    propensity: float
    feedback: float


@dataclass(slots=True, frozen=True)
class Verdict:
    """Mean ratings (0..1) of three routers, over the shares sent to the large tier in `SHARES`.

    The gains are over the current router and over the random control, with their 95 % bootstrap
    intervals.
    """

    rated: int
    current: float
    new: float
    chance: float
    gain: tuple[float, float]
    gain_over_chance: tuple[float, float]

    @property
    def is_better(self) -> bool:
        """Whether both intervals lie above 0."""
        return self.gain[0] > 0 and self.gain_over_chance[0] > 0


class TooFewRatings(Exception):
    """The held-out traffic proves nothing; the message says what is missing."""


def judge(judged: Sequence[Judged], *, seed: int = 0) -> Verdict:
    """Compare by self-normalised inverse propensity weighting. Raises TooFewRatings."""
    explored = [one for one in judged if one.propensity < 1]
    _refuse_too_few(len(judged), explored)
    columns = np.array(
        [(one.current, one.new, one.is_large, 1 / one.propensity, one.feedback) for one in explored]
    )
    means = _means(columns)
    random = np.random.default_rng(seed)
    count = len(explored)
    resampled = np.array(
        [_means(columns[random.integers(0, count, count)]) for _ in range(_RESAMPLES)]
    )
    return Verdict(
        rated=count,
        current=means[0],
        new=means[1],
        chance=means[2],
        gain=_interval(resampled[:, 1] - resampled[:, 0]),
        gain_over_chance=_interval(resampled[:, 1] - resampled[:, 2]),
    )


def _refuse_too_few(rated: int, explored: Sequence[Judged]) -> None:
    count = len(explored)
    large = sum(one.is_large for one in explored)
    if count < LEAST_RATED:
        raise TooFewRatings(
            f"{count} of {rated} held-out ratings are of requests that might have gone either way, "
            f"{LEAST_RATED} are needed: set routing.exploration and collect feedback"
        )
    if min(large, count - large) < LEAST_OF_A_TIER:
        raise TooFewRatings(
            f"{large} held-out ratings are of the large tier and {count - large} of the small one, "
            f"{LEAST_OF_A_TIER} of each are needed"
        )


def _means(columns: Floats) -> list[float]:
    """The mean rating of the current router, the new one and chance, over all shares."""
    current, new, is_large, weights, ratings = columns.T
    by_share = []
    for share in SHARES:
        kept = [_kept(current, share, is_large), _kept(new, share, is_large)]
        kept.append(np.where(is_large == 1, share, 1 - share))
        by_share.append([_weighted_mean(one * weights, ratings) for one in kept])
    return [float(mean) for mean in np.mean(by_share, axis=0)]


def _kept(scores: Floats, share: float, is_large: Floats) -> Floats:
    """1 for the requests that stay on their tier when the highest `share` of scores goes large."""
    large = np.zeros(len(scores))
    large[np.argsort(-scores, kind="stable")[: round(share * len(scores))]] = 1
    kept: Floats = (large == is_large).astype(np.float64)
    return kept


def _weighted_mean(weights: Floats, ratings: Floats) -> float:
    return float((weights * ratings).sum() / max(1e-12, weights.sum()))


def _interval(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
