"""What electricity costs, and what greenhouse gas comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from gateway.settings.section import Section, UsdRate

_Intensity = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EnergySettings(Section):
    """Of the machines that are one's own; what vendors' models take is estimated apart.

    `usd_per_kwh` is added to the price of what runs on them. `grams_co2_per_kwh` is by default the
    world's mean in ecologits' table, in CO2 equivalent. `pue` is a building's whole draw over that
    of its computers. `watts_per_core` is what a logical core draws at work where nothing measures
    it: Cloud Carbon Footprint's mean of AWS's servers at full load, a whole server's part included.
    `powercap` is where the kernel shows the processors' counters; containers may have it elsewhere.
    """

    usd_per_kwh: UsdRate | None = None
    grams_co2_per_kwh: _Intensity | None = 458
    pue: float = Field(1.0, ge=1, le=10, allow_inf_nan=False)
    watts_per_core: float = Field(3.5, gt=0, allow_inf_nan=False)
    powercap: Path = Path("/sys/class/powercap")
