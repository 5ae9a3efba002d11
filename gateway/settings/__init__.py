"""Configuration: one typed YAML file, and secrets from the environment. Read once, in `app`."""

from gateway.settings.environment import Environment
from gateway.settings.loader import ConfigError, load_settings
from gateway.settings.model import (
    DeploymentSettings,
    LedgerSettings,
    LoggingSettings,
    PolicySettings,
    RoutingSettings,
    ServerSettings,
    Settings,
)

__all__ = [
    "ConfigError",
    "DeploymentSettings",
    "Environment",
    "LedgerSettings",
    "LoggingSettings",
    "PolicySettings",
    "RoutingSettings",
    "ServerSettings",
    "Settings",
    "load_settings",
]
