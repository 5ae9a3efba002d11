"""Electricity that answers take, and the greenhouse gas that comes of it."""

from __future__ import annotations

from dataclasses import dataclass

#: A watt-hour is as many watt-seconds; a kilowatt-hour is as many watt-hours.
SECONDS_AN_HOUR = 3600
WH_A_KWH = 1000


@dataclass(slots=True, frozen=True)
class Reading:
    """What a meter on this machine counted for one answer, in Wh, without a building's share.

    `meter` says which: `rapl` (the processors) or `nvml` (GPUs).
    """

    wh: float
    meter: str


@dataclass(slots=True, frozen=True)
class Energy:
    """What one answer took: `wh`, `co2_g` (grams of CO2 equivalent; None where unknown).

    `source` is `measured:` and the meter, `estimated:power` or `estimated:ecologits`.
    """

    wh: float
    co2_g: float | None
    source: str


@dataclass(slots=True, frozen=True)
class Hardware:
    """A machine of one's own, which draws `watts` while it computes; None where unknown.

    No meter of it can tell more than `most_watts`; None where that is unknown. `pue` is what its
    building takes for each Wh that it takes itself.
    """

    watts: float | None
    pue: float = 1.0
    grams_co2_per_kwh: float | None = None
    most_watts: float | None = None


@dataclass(slots=True, frozen=True)
class Line:
    """One end of the range of a remote model's energy, linear in tokens and in seconds.

    A token takes `wh_per_token` in the accelerators. Their server takes `wh_per_s` for as long as
    the answer is generated: `first_token_s` and `s_per_token`, no longer than it took to come.
    """

    wh_per_token: float
    wh_per_s: float
    first_token_s: float
    s_per_token: float

    def wh(self, tokens: int, elapsed_s: float) -> float:
        """The energy of an answer of so many tokens that took so long to come, in Wh."""
        generated_s = self.first_token_s + tokens * self.s_per_token
        return tokens * self.wh_per_token + self.wh_per_s * min(generated_s, elapsed_s)


@dataclass(slots=True, frozen=True)
class RemoteModel:
    """A vendor's model: the ends of its energy's range, and the intensity where it is served."""

    low: Line
    high: Line
    grams_co2_per_kwh: float


EnergyModel = Hardware | RemoteModel
