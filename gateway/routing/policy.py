"""A policy: where its threshold comes from, and which way it leans when the score can't tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from gateway.core.cascade import Cascade
from gateway.core.deployment import Tier

#: USD on the small tier and on the large one.
TierUsd = tuple[Decimal, Decimal]


class ThresholdSource(Protocol):
    """What gives a policy its threshold; a number, or one that follows live traffic."""

    @property
    def threshold(self) -> float:
        """Score ≥ threshold goes to the large tier."""

    def observe(self, score: float, tier_usd: Callable[[], TierUsd | None]) -> None:
        """Learn of a request that was routed; `tier_usd` estimates its cost on either tier."""


@dataclass(slots=True, frozen=True)
class FixedThreshold:
    """A number from the configuration, or solved beforehand."""

    threshold: float

    def observe(self, score: float, tier_usd: Callable[[], TierUsd | None]) -> None:
        """A number learns nothing."""


@dataclass(slots=True, frozen=True)
class Policy:
    """A named way to route.

    `safe_side` is the tier for questions unlike those that the score was learnt from; `origin` says
    in words where the threshold comes from. A `cascade` watches what goes to the small tier.
    """

    name: str
    source: ThresholdSource
    safe_side: Tier = Tier.LARGE
    cascade: Cascade | None = None
    origin: str = ""

    @property
    def threshold(self) -> float:
        """The threshold as it stands now."""
        return self.source.threshold
