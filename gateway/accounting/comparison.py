"""Where two configurations would send the logged requests, and what that changes in cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from gateway.accounting.history import LoggedRequest
from gateway.accounting.replay import Bill, TierPrices, tier_at, usd_on
from gateway.core.deployment import Tier

#: A logged threshold this close to a policy's is the policy's own.
_SAME = 1e-9


@dataclass(slots=True, frozen=True)
class Thresholds:
    """What a configuration decides by: thresholds by policy, and the price of each tier."""

    by_policy: Mapping[str, float]
    default_policy: str
    prices: TierPrices

    @property
    def default_threshold(self) -> float:
        """The default policy's threshold."""
        return self.by_policy[self.default_policy]

    def of(self, policy: str | None) -> float:
        """The threshold of a policy; of the default one where it has no such policy."""
        return self.by_policy.get(policy or "", self.default_threshold)


@dataclass(slots=True, frozen=True)
class Move:
    """One request that the new configuration would send elsewhere than the live one."""

    request_id: str
    ts: datetime
    policy: str | None
    score: float
    from_tier: Tier
    to_tier: Tier
    change_usd: Decimal | None


@dataclass(slots=True)
class Side:
    """One configuration's part: routed requests on the large tier, and the cost of all requests."""

    large: int = 0
    bill: Bill = field(default_factory=Bill)

    def add(self, tier: Tier, usd: Decimal | None) -> None:
        """Count one more routed request."""
        self.large += tier is Tier.LARGE
        self.bill.add(usd)


@dataclass(slots=True)
class Comparison:
    """A log under the live configuration and under a new one.

    `own` counts the routed requests whose logged threshold isn't their policy's live one: they
    brought their own, or another configuration was live then. They keep it. `change_usd` sums the
    moves whose cost is known on both sides, `unknown` counts the others. `moves` has the newest.
    """

    routed: int = 0
    own: int = 0
    to_large: int = 0
    to_small: int = 0
    change_usd: Decimal = Decimal(0)
    unknown: int = 0
    live: Side = field(default_factory=Side)
    new: Side = field(default_factory=Side)
    moves: list[Move] = field(default_factory=list)

    @property
    def moved(self) -> int:
        """How many requests would move."""
        return self.to_large + self.to_small

    def add(self, move: Move, *, listed: int) -> None:
        """Count one more move, and keep it among the first so many."""
        self.to_large += move.to_tier is Tier.LARGE
        self.to_small += move.to_tier is Tier.SMALL
        if move.change_usd is None:
            self.unknown += 1
        else:
            self.change_usd += move.change_usd
        if len(self.moves) < listed:
            self.moves.append(move)


def compare(
    requests: Iterable[LoggedRequest], live: Thresholds, new: Thresholds, *, listed: int
) -> Comparison:
    """Send each request, newest first, by both configurations; at most `listed` moves are kept."""
    outcome = Comparison()
    for request in requests:
        if request.score is None or not request.is_routed:
            outcome.live.bill.add(request.usd)
            outcome.new.bill.add(request.usd)
            continue
        outcome.routed += 1
        own = _own_threshold(request, live)
        outcome.own += own is not None
        before = live.of(request.policy) if own is None else own
        after = new.of(_policy_under(request, live, new)) if own is None else own
        old_tier, new_tier = tier_at(request.score, before), tier_at(request.score, after)
        old_usd = new_usd = usd_on(request, old_tier, live.prices)
        if new_tier is not old_tier:
            new_usd = usd_on(request, new_tier, new.prices)
            change = None if old_usd is None or new_usd is None else new_usd - old_usd
            move = Move(
                request_id=request.request_id,
                ts=request.ts,
                policy=request.policy,
                score=request.score,
                from_tier=old_tier,
                to_tier=new_tier,
                change_usd=change,
            )
            outcome.add(move, listed=listed)
        outcome.live.add(old_tier, old_usd)
        outcome.new.add(new_tier, new_usd)
    return outcome


def _own_threshold(request: LoggedRequest, live: Thresholds) -> float | None:
    """The request's threshold where it isn't its policy's."""
    logged = request.threshold
    if logged is None or abs(logged - live.of(request.policy)) <= _SAME:
        return None
    return logged


def _policy_under(request: LoggedRequest, live: Thresholds, new: Thresholds) -> str | None:
    """The request's policy under the new configuration: `auto` follows the default policy."""
    named = request.model_requested.startswith("auto:")
    if not named and request.policy in {None, live.default_policy}:
        return new.default_policy
    return request.policy
