"""Configured resilience as values: capacities, breakers, balance and hedging."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.resilience.balance import Balance
from gateway.resilience.breaker import BreakerSettings
from gateway.resilience.health import Capacity, DeploymentHealth, Health
from gateway.resilience.hedging import Hedging, HedgingSettings
from gateway.settings import DeploymentSettings, Settings


def health_of(settings: Settings, health: Health) -> Mapping[str, DeploymentHealth]:
    """The health of every configured deployment; the limits of one that is known stay."""
    return health.of(_breaker(settings), _capacities(settings))


def set_limits(settings: Settings, health: Health) -> None:
    """Let the configured limits hold for what is known."""
    health.configure(_breaker(settings), _capacities(settings))


def balance_of(settings: Settings, health: Mapping[str, DeploymentHealth]) -> Balance:
    """How the deployments of a tier share its requests."""
    weights = {entry.name: entry.weight for entry in settings.deployments}
    return Balance(settings.routing.balance, weights, health)


def hedging_of(settings: Settings) -> Hedging | None:
    """Hedged requests, where they are enabled."""
    hedging = settings.resilience.hedging
    if not hedging.enabled:
        return None
    return Hedging(HedgingSettings(hedging.quantile, hedging.least_wait_s, hedging.most_share))


def _breaker(settings: Settings) -> BreakerSettings:
    breaker = settings.resilience.breaker
    return BreakerSettings(breaker.failures, breaker.cooldown_s, breaker.longest_cooldown_s)


def _capacities(settings: Settings) -> Mapping[str, Capacity]:
    return {entry.name: _capacity(entry) for entry in settings.deployments}


def _capacity(entry: DeploymentSettings) -> Capacity:
    if entry.backend == "local":  # its engine has the queue, for all web processes together
        return Capacity()
    return Capacity(
        most=entry.most_calls,
        most_waiting=entry.most_waiting,
        wait_s=entry.queue_timeout_s,
    )
