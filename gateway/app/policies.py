"""Policies with their thresholds: a number, a calibrated one, or one that follows live traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from gateway.core.cascade import Cascade
from gateway.routing.classifier import ArtefactMismatch, Scorer, load_artefact, load_scorer
from gateway.routing.policy import FixedThreshold, Policy, ThresholdSource
from gateway.routing.registry import classifier_file
from gateway.routing.solving import Sample, TooFewData, solve_quality
from gateway.routing.targets import ShareTarget, SpendTarget, prior_scores
from gateway.settings import (
    CalibratedPolicy,
    ConfigError,
    PolicySettings,
    RoutingSettings,
    Settings,
    TargetSettings,
    load_calibrations,
)


def policies_of(
    routing: RoutingSettings, scorer: Scorer, *, processes: int = 1
) -> dict[str, Policy]:
    """Every configured policy. Raises ConfigError for a calibration that doesn't fit.

    So many `processes` serve: each may spend its part of a day's money.
    """
    calibrated = load_calibrations(routing.calibration) if routing.calibration else {}
    unknown = sorted(calibrated.keys() - routing.policies.keys())
    if unknown:
        raise ConfigError(str(routing.calibration), [f"{unknown[0]}: there is no such policy"])
    aimless = [name for name in calibrated if routing.policies[name].target is None]
    if aimless:
        target = f"set routing.policies.{aimless[0]}.target to what it was calibrated for"
        raise ConfigError(str(routing.calibration), [f"{aimless[0]}: has no target; {target}"])
    return {
        name: _policy(name, settings, routing, scorer, calibrated, processes)
        for name, settings in routing.policies.items()
    }


def policy_thresholds(settings: Settings) -> dict[str, float]:
    """The threshold of each policy as it stands at start. Raises ConfigError."""
    scorer = configured_scorer(settings.routing.classifier)
    policies = policies_of(settings.routing, scorer)
    return {name: policy.threshold for name, policy in policies.items()}


def following_on(
    policies: Mapping[str, Policy],
    routing: RoutingSettings,
    earlier_policies: Mapping[str, Policy],
    earlier_routing: RoutingSettings,
) -> dict[str, Policy]:
    """The policies; a threshold that follows live traffic stays, where its target has stayed."""
    followed = dict(policies)
    if routing.threshold != earlier_routing.threshold:
        return followed
    for name, policy in policies.items():
        earlier = earlier_policies.get(name)
        if earlier is None or not isinstance(policy.source, ShareTarget | SpendTarget):
            continue
        aims = [one.policies[name].target for one in (routing, earlier_routing)]
        if aims[0] == aims[1] and type(earlier.source) is type(policy.source):
            followed[name] = replace(policy, source=earlier.source)
    return followed


def configured_scorer(path: Path | None, key: str = "routing.classifier") -> Scorer:
    """The scorer of a classifier's file, else the shipped one. Raises ConfigError naming `key`."""
    try:
        return load_scorer(classifier_file(path))
    except (ArtefactMismatch, OSError) as error:
        raise ConfigError(key, [str(error)]) from error


def shipped_samples(classifier: Path | None) -> list[Sample]:
    """The calibration set in a classifier's file: scores with both tiers' outcomes."""
    artefact, _ = load_artefact(classifier_file(classifier))
    return [Sample(*row) for row in artefact["calibration"]]


def shipped_scores(scorer: Scorer) -> list[float]:
    """Scores distributed as those of the classifier's own chat prompts."""
    return prior_scores([(p.threshold, p.large_share) for p in scorer.operating_points])


def _policy(
    name: str,
    settings: PolicySettings,
    routing: RoutingSettings,
    scorer: Scorer,
    calibrated: Mapping[str, CalibratedPolicy],
    processes: int,
) -> Policy:
    source: ThresholdSource
    if settings.target is None:
        given = settings.threshold
        source = FixedThreshold(routing.threshold if given is None else given)
        origin = "routing.threshold" if given is None else "the policy"
    elif (found := calibrated.get(name)) is not None:
        _check_fresh(name, found, settings.target, routing, scorer)
        source = FixedThreshold(found.threshold)
        origin = f"calibrated for {found.target} on the {found.solved_on} samples ({found.samples})"
    else:
        source, origin = _solved(settings.target, routing, scorer, processes)
    cascade = _cascade(settings, calibrated.get(name))
    return Policy(name, source, settings.safe_side, cascade, origin)


def _cascade(settings: PolicySettings, calibrated: CalibratedPolicy | None) -> Cascade | None:
    configured = settings.cascade
    if configured is None:
        return None
    least = configured.min_confidence
    if calibrated is not None and calibrated.min_confidence is not None:
        least = calibrated.min_confidence
    return Cascade(configured.hold_tokens, least)


def _check_fresh(
    name: str,
    found: CalibratedPolicy,
    target: TargetSettings,
    routing: RoutingSettings,
    scorer: Scorer,
) -> None:
    problems = []
    if found.router != scorer.version:
        problems.append(f"{name}: calibrated for router {found.router}, this is {scorer.version}")
    if found.target != str(target):
        problems.append(f"{name}: calibrated for {found.target}, the target is {target}")
    if problems:
        raise ConfigError(str(routing.calibration), [*problems, "run slm-gateway calibrate again"])


def _solved(
    target: TargetSettings, routing: RoutingSettings, scorer: Scorer, processes: int
) -> tuple[ThresholdSource, str]:
    if target.large_share is not None:
        share = ShareTarget(target.large_share, shipped_scores(scorer))
        return share, f"{target}, following live traffic"
    if target.usd_per_day is not None:
        part = target.usd_per_day / processes
        return SpendTarget(part, routing.threshold), f"{target}, following live traffic"
    try:
        threshold = _quality_threshold(target, routing.classifier, scorer.version)
    except TooFewData as error:
        raise ConfigError("routing.policies", [f"{target}: {error}"]) from error
    return FixedThreshold(threshold), f"{target}, on the shipped calibration set"


@lru_cache(maxsize=16)
def _quality_threshold(target: TargetSettings, classifier: Path | None, version: str) -> float:
    """Solved once for a version of the classifier. Raises TooFewData."""
    samples = shipped_samples(classifier)
    return solve_quality(samples, target.quality or 0.0, target.confidence).threshold
