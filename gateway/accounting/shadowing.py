"""A live router and a shadow one on the same requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from gateway.accounting.history import LoggedRequest
from gateway.core.deployment import Tier

#: Fewer ratings say nothing.
LEAST_RATED = 20

Pair = tuple[float | None, float | None]


@dataclass(slots=True, frozen=True)
class ShadowReport:
    """What two routers make of the same requests.

    `quality` is the mean rating of the answers that each would have left in place, weighted by
    inverse propensity; `auroc` is how well each score told the small tier's bad answers (rated
    below 0.5) from its good ones. Pairs are (live, shadow); None where ratings are too few.
    """

    version: str
    requests: int
    live_mean: float
    shadow_mean: float
    live_share: float
    shadow_share: float
    agreement: float
    to_large: int
    to_small: int
    quality: Pair
    auroc: Pair


def compare_shadow(requests: Sequence[LoggedRequest]) -> ShadowReport:
    """Compare on requests that both have scored, of the newest shadow version alone."""
    version = requests[0].shadow_version or ""
    own = [one for one in requests if one.shadow_version == version]
    live = [one.score or 0.0 for one in own]
    shadow = [one.shadow_score or 0.0 for one in own]
    thresholds = [one.threshold or 0.0 for one in own]
    live_large = [score >= t for score, t in zip(live, thresholds, strict=True)]
    shadow_large = [score >= t for score, t in zip(shadow, thresholds, strict=True)]
    pairs = list(zip(live_large, shadow_large, strict=True))
    return ShadowReport(
        version=version,
        requests=len(own),
        live_mean=fmean(live),
        shadow_mean=fmean(shadow),
        live_share=fmean(live_large),
        shadow_share=fmean(shadow_large),
        agreement=fmean(one == other for one, other in pairs),
        to_large=sum(other and not one for one, other in pairs),
        to_small=sum(one and not other for one, other in pairs),
        quality=(_quality(own, live_large), _quality(own, shadow_large)),
        auroc=(_auroc(own, live), _auroc(own, shadow)),
    )


def _quality(requests: Sequence[LoggedRequest], is_large: Sequence[bool]) -> float | None:
    kept = [
        (one.feedback, 1 / one.propensity)
        for one, large in zip(requests, is_large, strict=True)
        if one.feedback is not None and (one.tier is Tier.LARGE) == large and one.propensity > 0
    ]
    if len(kept) < LEAST_RATED:
        return None
    return sum(rating * weight for rating, weight in kept) / sum(weight for _, weight in kept)


def _auroc(requests: Sequence[LoggedRequest], scores: Sequence[float]) -> float | None:
    rated = [
        (score, one.feedback < 0.5)
        for one, score in zip(requests, scores, strict=True)
        if one.feedback is not None and one.answer_tier is Tier.SMALL
    ]
    bad = sorted(score for score, is_bad in rated if is_bad)
    good = sorted(score for score, is_bad in rated if not is_bad)
    if min(len(bad), len(good)) < LEAST_RATED:
        return None
    below = sum((g < b) + 0.5 * (g == b) for b in bad for g in good)
    return below / (len(bad) * len(good))
