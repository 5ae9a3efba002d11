"""What logged requests would have cost at other thresholds: pure functions, no calls.

A request that keeps its tier costs what it cost. One that changes tier costs its tokens at the
price of that tier, or what that tier's own answer cost where it answered in the end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate

from gateway.accounting.history import LoggedRequest
from gateway.accounting.offpolicy import Quality, RatedAnswer, qualities
from gateway.accounting.pricing import amount_of
from gateway.core.deployment import Tier
from gateway.core.price import Price

#: By tier, the price of its calls; None or missing where nobody knows it.
TierPrices = Mapping[Tier, Price | None]


@dataclass(slots=True)
class Bill:
    """The cost of requests; those of unknown cost are counted, and left out of the sum."""

    requests: int = 0
    unknown: int = 0
    known_usd: Decimal = Decimal(0)

    @property
    def usd(self) -> Decimal | None:
        """The sum; None, never 0, where no request's cost is known."""
        return None if self.unknown and self.unknown == self.requests else self.known_usd

    def add(self, usd: Decimal | None) -> None:
        """Count one more request."""
        self.requests += 1
        if usd is None:
            self.unknown += 1
        else:
            self.known_usd += usd

    def __add__(self, other: Bill) -> Bill:
        return Bill(
            self.requests + other.requests,
            self.unknown + other.unknown,
            self.known_usd + other.known_usd,
        )


@dataclass(slots=True, frozen=True)
class ThresholdOutcome:
    """The log at one threshold.

    `large` counts the routed requests that it sends to the large tier, `to_large` and `to_small`
    those that it sends elsewhere than they went. `bill` is that of all requests. `expected` is the
    part of the large tier's quality that the requests' own scores expect on the routed ones: each
    score is the probability that the small tier's answer falls short. None without routed ones.
    """

    threshold: float
    large: int
    to_large: int
    to_small: int
    bill: Bill
    quality: Quality | None
    expected: float | None = None


@dataclass(slots=True, frozen=True)
class Sweep:
    """The log at several thresholds.

    `routed` counts the requests that their score decided, `unserved` those of them whose tier had
    nothing to call then; they are replayed as if it had. `bill` and `large` are the log's own.
    `explored` is whether any routed request was sent by chance.
    """

    routed: int
    unserved: int
    large: int
    bill: Bill
    feedbacks: int
    explored: bool
    outcomes: tuple[ThresholdOutcome, ...]


def tier_at(score: float, threshold: float) -> Tier:
    """Where a threshold sends a score."""
    return Tier.LARGE if score >= threshold else Tier.SMALL


def usd_on(request: LoggedRequest, tier: Tier, prices: TierPrices) -> Decimal | None:
    """What the request costs on a tier; None where that is unknown."""
    if tier is request.tier:
        return request.usd
    if tier is request.answer_tier:
        return request.answer_usd
    price = prices.get(tier)
    if request.usage is None or price is None:
        return None
    return amount_of(request.usage, price.at(request.ts))


class _Side:
    """The routed requests of one rank, all on one tier: cost, scores, how many were elsewhere."""

    def __init__(self, bill: Bill | None = None, moved: int = 0, score: float = 0.0) -> None:
        self.bill = Bill() if bill is None else bill
        self.moved = moved
        self.score = score

    def __add__(self, other: _Side) -> _Side:
        return _Side(self.bill + other.bill, self.moved + other.moved, self.score + other.score)


class _Tally:
    """Sums by rank (how many thresholds a score reaches), so that memory doesn't grow."""

    def __init__(self, thresholds: Sequence[float], prices: TierPrices) -> None:
        self._thresholds = thresholds
        self._prices = prices
        ranks = range(len(thresholds) + 1)
        self._sides = {tier: [_Side() for _ in ranks] for tier in Tier}
        self._fixed = Bill()
        self._rated: list[RatedAnswer] = []
        self._logged = Bill()
        self._routed = self._unserved = self._large = 0
        self._explored = False

    def add(self, request: LoggedRequest) -> None:
        self._logged.add(request.usd)
        if request.score is None or not request.is_routed:
            self._fixed.add(request.usd)
            return
        rank = bisect_right(self._thresholds, request.score)
        self._routed += 1
        self._large += request.tier is Tier.LARGE
        self._unserved += request.reason.startswith("no_")
        self._explored |= request.propensity < 1
        for tier, sides in self._sides.items():
            sides[rank].bill.add(usd_on(request, tier, self._prices))
            sides[rank].moved += tier is not request.tier
            sides[rank].score += request.score
        if request.feedback is not None and request.propensity > 0:
            went_large = request.tier is Tier.LARGE
            answer = RatedAnswer(rank, went_large, request.propensity, request.feedback)
            self._rated.append(answer)

    def sweep(self) -> Sweep:
        # Up to a threshold's own rank requests go to the small tier, above it to the large one.
        small = list(accumulate(self._sides[Tier.SMALL]))
        large = list(accumulate(reversed(self._sides[Tier.LARGE])))[::-1]
        quality = qualities(self._rated, len(self._thresholds))
        outcomes = tuple(
            ThresholdOutcome(
                threshold=threshold,
                large=large[at + 1].bill.requests,
                to_large=large[at + 1].moved,
                to_small=small[at].moved,
                bill=self._fixed + small[at].bill + large[at + 1].bill,
                quality=quality[at],
                expected=1 - small[at].score / self._routed if self._routed else None,
            )
            for at, threshold in enumerate(self._thresholds)
        )
        return Sweep(
            routed=self._routed,
            unserved=self._unserved,
            large=self._large,
            bill=self._logged,
            feedbacks=len(self._rated),
            explored=self._explored,
            outcomes=outcomes,
        )


def sweep(
    requests: Iterable[LoggedRequest], thresholds: Sequence[float], prices: TierPrices
) -> Sweep:
    """The requests at each of the thresholds, which rise."""
    tally = _Tally(thresholds, prices)
    for request in requests:
        tally.add(request)
    return tally.sweep()
