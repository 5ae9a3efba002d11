"""Deployments' energy models: own hardware, or a vendor's model as ecologits estimates it."""

from __future__ import annotations

import os

from gateway.accounting.footprints import UnknownZone, footprint_of
from gateway.backends.local.worker import usable_cores
from gateway.core.energy import EnergyModel, Hardware
from gateway.settings import ConfigError, DeploymentSettings, EnergySettings

#: Above what any processor draws for each of its cores, and any GPU.
MOST_WATTS_A_CORE = 50.0
MOST_WATTS_A_GPU = 2000.0


def hardware_of(entry: DeploymentSettings, energy: EnergySettings) -> Hardware:
    """The machine that a deployment runs on; a local one draws so much for each of its cores."""
    watts, measured = entry.power_w, MOST_WATTS_A_GPU * len(entry.gpus)
    if entry.backend == "local":
        if watts is None:
            cores = min(entry.threads or usable_cores(), usable_cores())
            watts = energy.watts_per_core * cores
        if any(energy.powercap.glob("intel-rapl:*")):
            measured = MOST_WATTS_A_CORE * (os.cpu_count() or 1)
    most_watts = max(watts or 0, measured) or None
    return Hardware(watts, energy.pue, energy.grams_co2_per_kwh, most_watts)


def is_own(entry: DeploymentSettings) -> bool:
    """Whether it runs on hardware of one's own, whose electricity one pays oneself."""
    return entry.backend == "local" or entry.power_w is not None or bool(entry.gpus)


def remote_energy(
    entry: DeploymentSettings, energy: EnergySettings, provider: str | None
) -> EnergyModel | None:
    """What an upstream runs on, where that is one's own; else what is known of a vendor's model.

    `provider` is the price catalogue's name. Raises ConfigError.
    """
    if is_own(entry):
        return hardware_of(entry, energy)
    if provider is None:
        return None
    try:
        return footprint_of(entry.model, provider, entry.electricity_zone)
    except UnknownZone as error:
        problem = f"deployments.{entry.name}.electricity_zone: {error}"
        raise ConfigError("The configuration", [problem]) from None
