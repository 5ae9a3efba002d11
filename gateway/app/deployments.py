"""Configured deployments as values: prices, context windows and capabilities resolved."""

from __future__ import annotations

from pathlib import Path

from gateway.accounting.catalogue import catalogue_price, context_window
from gateway.core.deployment import ALL_CAPABILITIES, Capability, Deployment
from gateway.core.price import Price
from gateway.settings import DeploymentSettings, Environment, Settings


def deployments_of(settings: Settings, environment: Environment) -> list[Deployment]:
    """Every configured deployment, in the order of the file."""
    models_dir = environment.models_dir(settings)
    return [_deployment(entry, environment, models_dir) for entry in settings.deployments]
