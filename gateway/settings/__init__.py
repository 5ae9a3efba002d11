"""Configuration: one typed YAML file, and secrets from the environment. Read once, in `app`."""

from gateway.settings.calibration import (
    CalibratedPolicy,
    calibrations_text,
    load_calibrations,
)
from gateway.settings.deployments import DeploymentSettings
from gateway.settings.energy import EnergySettings
from gateway.settings.environment import Environment
from gateway.settings.loader import DEFAULT_PATH, ConfigError, load_settings
from gateway.settings.model import (
    LedgerSettings,
    LoggingSettings,
    ServerSettings,
    Settings,
    TracingSettings,
)
from gateway.settings.routing import (
    AffinitySettings,
    PolicySettings,
    RoutingSettings,
    TargetSettings,
)

__all__ = [
    "DEFAULT_PATH",
    "AffinitySettings",
    "CalibratedPolicy",
    "ConfigError",
    "DeploymentSettings",
    "EnergySettings",
    "Environment",
    "LedgerSettings",
    "LoggingSettings",
    "PolicySettings",
    "RoutingSettings",
    "ServerSettings",
    "Settings",
    "TargetSettings",
    "TracingSettings",
    "calibrations_text",
    "load_calibrations",
    "load_settings",
]
