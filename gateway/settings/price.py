"""What a deployment's calls cost, where the configuration says it."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from gateway.settings.section import Section, UsdRate

Factor = Annotated[Decimal, Field(ge=0, le=100, allow_inf_nan=False)]
ServiceTier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class RateSettings(Section):
    """USD per million tokens; `searches` per thousand of the web.

    The rates of tokens that a prompt cache gave or took, of audio, of images and of thought are
    those of other tokens where they aren't given.
    """

    input: UsdRate | None = None
    cached_input: UsdRate | None = None
    cache_write: UsdRate | None = None
    cache_write_1h: UsdRate | None = None
    audio_input: UsdRate | None = None
    image_input: UsdRate | None = None
    output: UsdRate | None = None
    reasoning: UsdRate | None = None
    audio_output: UsdRate | None = None
    image_output: UsdRate | None = None
    searches: UsdRate | None = None


class PromptTierSettings(RateSettings):
    """Rates of a whole call whose prompt is longer; the others stay."""

    above_tokens: int = Field(ge=1)


class TieredRateSettings(RateSettings):
    """Rates that may depend on how long the prompt is."""

    tiers: tuple[PromptTierSettings, ...] = ()

    @model_validator(mode="after")
    def _rising(self) -> Self:
        above = [tier.above_tokens for tier in self.tiers]
        if above != sorted(set(above)):
            raise ValueError("tiers: above_tokens must rise from tier to tier")
        return self


class HoursSettings(TieredRateSettings):
    """Rates of a part of the day, in UTC: a factor on the usual ones, or their own."""

    begins: time
    ends: time
    factor: Factor | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        own = self.model_dump(exclude={"begins", "ends", "factor"}, exclude_defaults=True)
        if (self.factor is None) == (not own):
            raise ValueError("give a factor or rates")
        if self.begins == self.ends or self.begins.tzinfo or self.ends.tzinfo:
            raise ValueError("begins and ends are two times of the day in UTC, such as 16:30")
        return self


class PriceSettings(TieredRateSettings):
    """Rates by token, by service tier and by hour of the day; or USD per hour of compute.

    `includes_electricity` says that nothing comes on top for it, as with a rented machine.
    """

    service_tiers: dict[ServiceTier, Factor | TieredRateSettings] = Field(default_factory=dict)
    hours: tuple[HoursSettings, ...] = ()
    usd_per_hour: UsdRate | None = None
    includes_electricity: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        per_token = (self.input, self.output)
        if self.usd_per_hour is not None:
            if self.model_dump(
                exclude={"usd_per_hour", "includes_electricity"}, exclude_defaults=True
            ):
                raise ValueError("give usd_per_hour or rates per million tokens, not both")
        elif any(rate is None for rate in per_token):
            raise ValueError("input and output are both needed (or usd_per_hour alone)")
        return self

    @model_validator(mode="after")
    def _long_prompts_are_priced(self) -> Self:
        """Rates that forget the tiers would make long prompts cheap by mistake."""
        given: list[TieredRateSettings] = [
            *(one for one in self.service_tiers.values() if not isinstance(one, Decimal)),
            *(one for one in self.hours if one.factor is None),
        ]
        if self.tiers and any(not one.tiers for one in given):
            raise ValueError("where there are tiers, service_tiers and hours need them too")
        return self
