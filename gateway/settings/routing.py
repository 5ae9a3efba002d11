"""How the configuration says to route: policies, targets, what happens when deployments fail."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.core.deployment import Tier
from gateway.settings.section import Name, Positive, Probability, Section, UsdRate


class TargetSettings(Section):
    """What a policy aims for; its threshold is solved from this.

    `confidence` is that of the promise that `quality` is kept.
    """

    quality: Annotated[float, Field(gt=0, le=1)] | None = None
    large_share: Probability | None = None
    usd_per_day: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)] | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.9

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (
            sum(goal is not None for goal in (self.quality, self.large_share, self.usd_per_day))
            != 1
        ):
            raise ValueError("give exactly one of quality, large_share and usd_per_day")
        return self

    def __str__(self) -> str:
        """`quality 0.95 at confidence 0.9`, `large_share 0.3` or `usd_per_day 5`."""
        if self.quality is not None:
            return f"quality {self.quality:g} at confidence {self.confidence:g}"
        if self.large_share is not None:
            return f"large_share {self.large_share:g}"
        return f"usd_per_day {self.usd_per_day}"


class CascadeSettings(Section):
    """The small model's first tokens are held back, and dropped where it isn't sure of them."""

    hold_tokens: int = Field(24, ge=1)
    min_confidence: Probability = 0.6


class PolicySettings(Section):
    """A named threshold: a number, solved from a target, or (with neither) `routing.threshold`.

    `safe_side` answers what the score can't judge, such as a script that it has never seen.
    """

    threshold: Probability | None = None
    target: TargetSettings | None = None
    safe_side: Tier = Tier.LARGE
    cascade: CascadeSettings | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.threshold is not None and self.target is not None:
            raise ValueError("give a threshold or a target, not both")
        return self


def _shipped_policies() -> dict[str, PolicySettings]:
    return {
        "balanced": PolicySettings(),
        "cheap": PolicySettings(threshold=0.8, safe_side=Tier.SMALL),
        "quality": PolicySettings(target=TargetSettings(quality=0.95)),
    }


class BreakerSettings(Section):
    """When a deployment that fails is left alone, and for how long."""

    failures: int = Field(5, ge=1)
    cooldown_s: Positive = 5
    longest_cooldown_s: Positive = 60


class HedgingSettings(Section):
    """A second attempt beside one whose answer takes unusually long to begin."""

    enabled: bool = False
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.95
    least_wait_s: Positive = 0.5
    most_share: Annotated[float, Field(gt=0, le=1)] = 0.05


class ResilienceSettings(Section):
    """What happens when deployments fail, are slow or are full."""

    deadline_s: Positive = 120
    breaker: BreakerSettings = BreakerSettings()
    hedging: HedgingSettings = HedgingSettings()


class AffinitySettings(Section):
    """How a conversation keeps to the model that answered it."""

    enabled: bool = True
    ttl_s: Positive = 600
    max_sessions: int = Field(50_000, ge=1)
    margin: Probability = 0.05


class RoutingSettings(Section):
    """How requests are routed."""

    threshold: Probability = 0.5
    default_policy: str = "balanced"
    policies: dict[Name, PolicySettings] = Field(default_factory=_shipped_policies)
    fallback: Literal["any_tier", "same_tier", "none"] = "any_tier"
    balance: Literal["in_order", "weighted", "least_busy"] = "in_order"
    model_map: dict[str, str] = Field(default_factory=dict)
    reserved_output_tokens: int = Field(256, ge=1)
    affinity: AffinitySettings = AffinitySettings()
    exploration: Probability = 0.0
    usd_per_hour: UsdRate | None = None
    classifier: Path | None = None
    shadow: Path | None = None
    calibration: Path | None = None

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default_policy not in self.policies:
            known = ", ".join(sorted(self.policies))
            raise ValueError(f"default_policy {self.default_policy!r} is none of: {known}")
        return self
