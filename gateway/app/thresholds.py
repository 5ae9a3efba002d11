"""The policies' thresholds: given as numbers, or solved from targets."""

from __future__ import annotations

from pathlib import Path

from gateway.routing.classifier import ArtefactMismatch, Scorer, load_scorer
from gateway.settings import ConfigError, PolicySettings, Settings


def policy_thresholds(settings: Settings, scorer: Scorer | None = None) -> dict[str, float]:
    """The threshold of each policy, by name; the scorer is read only where a target needs it.

    Raises ConfigError when the classifier's file doesn't fit.
    """
    routing = settings.routing
    if scorer is None and any(policy.target is not None for policy in routing.policies.values()):
        scorer = configured_scorer(routing.classifier)
    return {
        name: _threshold(policy, routing.threshold, scorer)
        for name, policy in routing.policies.items()
    }


def configured_scorer(path: Path | None) -> Scorer:
    """The scorer of a classifier's file, else the shipped one. Raises ConfigError."""
    try:
        return load_scorer(path)
    except (ArtefactMismatch, OSError) as error:
        raise ConfigError("routing.classifier", [str(error)]) from error


def _threshold(policy: PolicySettings, default: float, scorer: Scorer | None) -> float:
    if policy.target is not None and scorer is not None:
        return scorer.threshold_for(
            quality=policy.target.quality, large_share=policy.target.large_share
        )
    return default if policy.threshold is None else policy.threshold
