"""Which of a tier's deployments comes first: healthy ones, by the file's order, weight or load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from gateway.core.deployment import Deployment
from gateway.resilience.health import DeploymentHealth

BalanceMode = Literal["in_order", "weighted", "least_busy"]


class Balance:
    """Orders the deployments of one tier. Deterministic, so that a dry run can tell the next one.

    `weighted` is nginx's smooth weighted round robin; `least_busy` takes the fewest calls in flight
    for its weight, and among equals does the same.
    """

    def __init__(
        self,
        mode: BalanceMode,
        weights: Mapping[str, int],
        health: Mapping[str, DeploymentHealth],
    ) -> None:
        self._mode = mode
        self._weights = weights
        self._health = health
        self._turns: dict[str, int] = dict.fromkeys(weights, 0)

    def order(self, deployments: Sequence[Deployment], *, advance: bool) -> Sequence[Deployment]:
        """The order in which to try them; with `advance` the next call gets the next turn."""
        if len(deployments) < 2:
            return deployments
        ordered = deployments
        if self._mode != "in_order":
            ordered = self._in_turn(deployments, advance=advance)
        if self._mode == "least_busy":
            ordered = sorted(ordered, key=self._load)
        return sorted(ordered, key=self.is_resting)

    def is_resting(self, deployment: Deployment) -> bool:
        """Whether its breaker is open."""
        return self._health[deployment.name].breaker.refused_for_s() is not None

    def _in_turn(self, deployments: Sequence[Deployment], *, advance: bool) -> Sequence[Deployment]:
        healthy = [one for one in deployments if not self.is_resting(one)] or list(deployments)
        total = sum(self._weights[one.name] for one in healthy)
        turns = {one.name: self._turns[one.name] + self._weights[one.name] for one in healthy}
        first = max(healthy, key=lambda one: turns[one.name])
        if advance:
            self._turns |= turns
            self._turns[first.name] -= total
        others = sorted(
            (one for one in deployments if one is not first),
            key=lambda one: -turns.get(one.name, 0),
        )
        return [first, *others]

    def _load(self, deployment: Deployment) -> float:
        return self._health[deployment.name].slots.used / self._weights[deployment.name]
