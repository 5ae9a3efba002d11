"""What a call took in electricity: measured where a meter told, else estimated, else unknown."""

from __future__ import annotations

from dataclasses import replace

from gateway.core.energy import (
    SECONDS_AN_HOUR,
    WH_A_KWH,
    Energy,
    EnergyModel,
    Hardware,
    RemoteModel,
)
from gateway.core.usage import Usage

#: Nano-watt-hours are kept of a call; no meter tells less.
_DIGITS = 9


def energy_of(usage: Usage, model: EnergyModel | None, elapsed_s: float) -> Energy | None:
    """The energy of one call that took `elapsed_s`; None where nothing tells.

    Of own hardware: what its meter counted, else its watts × `usage.compute_s`; either × its PUE.
    Of a vendor's model: the middle of the range that its output tokens and its time give.
    """
    if isinstance(model, Hardware):
        return _of_hardware(usage, model)
    if isinstance(model, RemoteModel) and usage.completion_tokens:
        return _of_remote(usage.completion_tokens, model, elapsed_s)
    return None


def most_energy(model: EnergyModel | None, compute_s: float) -> Energy | None:
    """The most that a call can be told to take which has so much of its machine's time."""
    if not isinstance(model, Hardware) or model.most_watts is None:
        return None
    return energy_of(Usage(0, 0, compute_s=compute_s), replace(model, watts=model.most_watts), 0.0)


def _of_hardware(usage: Usage, hardware: Hardware) -> Energy | None:
    reading = usage.reading
    if reading is not None:
        wh, source = reading.wh, f"measured:{reading.meter}"
    elif hardware.watts is not None and usage.compute_s is not None:
        wh, source = hardware.watts * usage.compute_s / SECONDS_AN_HOUR, "estimated:power"
    else:
        return None
    return _energy(wh * hardware.pue, hardware.grams_co2_per_kwh, source)


def _of_remote(tokens: int, model: RemoteModel, elapsed_s: float) -> Energy:
    wh = (model.low.wh(tokens, elapsed_s) + model.high.wh(tokens, elapsed_s)) / 2
    return _energy(wh, model.grams_co2_per_kwh, "estimated:ecologits")


def _energy(wh: float, grams_co2_per_kwh: float | None, source: str) -> Energy:
    co2_g = None if grams_co2_per_kwh is None else wh / WH_A_KWH * grams_co2_per_kwh
    return Energy(round(wh, _DIGITS), None if co2_g is None else round(co2_g, _DIGITS), source)
