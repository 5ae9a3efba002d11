"""`slm-gateway calibrate`: thresholds from targets, into a file that is reviewed as a diff."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from gateway.accounting.history import requests_of
from gateway.accounting.query import LedgerReader
from gateway.app.calibration import (
    Evidence,
    Where,
    calibrated,
    evidence_of,
    watched_confidence,
)
from gateway.app.cli.costs import When
from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit
from gateway.app.deployments import deployments_of, priced_deployment
from gateway.app.policies import configured_scorer
from gateway.core.deployment import Tier
from gateway.core.errors import LedgerUnavailable
from gateway.routing.solving import LEAST_SCORES, TooFewData
from gateway.settings import (
    CalibratedPolicy,
    ConfigError,
    Environment,
    Settings,
    TargetSettings,
    calibrations_text,
    load_calibrations,
)

DEFAULT_OUTPUT = Path("config/calibration.yaml")


def calibrate(
    config: ConfigFile = None,
    policy: Annotated[
        str | None, typer.Option(help="Only this policy; by default each that has a target.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="GOAL=VALUE",
            help="quality=0.95, large_share=0.3 or usd_per_day=5, in place of the configured one.",
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Of the promise in --target quality=…")
    ] = 0.9,
    where: Annotated[
        Where,
        typer.Option("--on", help="The samples: your ledger's, the shipped, or what there is."),
    ] = "auto",
    since: When = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The file to write; by default routing.calibration's.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Write nothing.")] = False,  # noqa: FBT002 (typer)
) -> None:
    """Solve policies' targets for thresholds, with an interval; refuse where data are too few."""
    settings = settings_or_exit(config)
    targets = _targets(settings, policy, target, confidence)
    path = output or settings.routing.calibration or DEFAULT_OUTPUT
    console = Console()
    try:
        scorer = configured_scorer(settings.routing.classifier)
        evidence = {name: _evidence(settings, scorer.version, since, name) for name in targets}
        found = {
            name: calibrated(goal, where, evidence[name], settings.routing, scorer)
            for name, goal in targets.items()
        }
        known = load_calibrations(path) if path.exists() else {}
    except TooFewData as error:
        refuse(f"Refused: {error}.", 1)
    except (ConfigError, LedgerUnavailable) as error:
        refuse(str(error), 1)
    console.print(_table(found, targets))
    for name, goal in targets.items():
        if settings.routing.policies[name].cascade is not None:
            found[name], words = watched_confidence(goal, evidence[name], found[name])
            console.print(f"[bold]{name}[/], cascade: {words}")
    for name, one in found.items():
        if one.solved_on == "shipped":
            console.print(
                f"[yellow]{name}[/]: your ledger has nothing to go by, so this was solved on the "
                "shipped calibration set (exam questions, other models than yours)."
            )
    _write(console, path, {**known, **found}, dry_run=dry_run)
    if settings.routing.calibration is None and not dry_run:
        console.print(f"Use it with [bold]routing.calibration: {path}[/]")


def _targets(
    settings: Settings, policy: str | None, target: str | None, confidence: float
) -> Mapping[str, TargetSettings]:
    policies = settings.routing.policies
    if policy is not None and policy not in policies:
        refuse(f"There is no policy {policy!r}; there are: {', '.join(policies)}.")
    if target is not None:
        return {policy or settings.routing.default_policy: _goal(target, confidence)}
    chosen = {
        name: one.target
        for name, one in policies.items()
        if one.target is not None and policy in {None, name}
    }
    if not chosen:
        refuse("No such policy has a target; give one with --target quality=0.95.")
    return chosen


def _goal(text: str, confidence: float) -> TargetSettings:
    goal, _, value = text.partition("=")
    try:
        return TargetSettings.model_validate({goal: value, "confidence": confidence})
    except ValidationError:
        refuse(f"--target {text}: give quality=0.95, large_share=0.3 or usd_per_day=5.")


def _evidence(settings: Settings, router: str, since: When, policy: str) -> Evidence:
    """What the ledger knows of a policy's requests, or of all where it has too few yet.

    Scores of another router are no evidence on this one.
    """
    deployments = deployments_of(settings, Environment.of_process())
    priced = {tier: priced_deployment(deployments, tier) for tier in Tier}
    prices = {tier: None if one is None else one.price for tier, one in priced.items()}
    reader = LedgerReader(settings.ledger.url)
    own = evidence_of(requests_of(reader, since=since, router=router, policy=policy), prices)
    if len(own.scores) >= LEAST_SCORES:
        return own
    return evidence_of(requests_of(reader, since=since, router=router), prices)


def _table(found: Mapping[str, CalibratedPolicy], targets: Mapping[str, TargetSettings]) -> Table:
    table = Table("policy", "target", "threshold", "on its samples", "95%", "samples", "solved on")
    for name, one in found.items():
        table.add_row(
            name,
            str(targets[name]),
            f"{one.threshold:.4f}",
            f"{one.value:.4g}",
            f"{one.low:.4g} to {one.high:.4g}",
            f"{one.samples:,}",
            one.solved_on,
        )
    return table


def _write(
    console: Console, path: Path, calibrations: dict[str, CalibratedPolicy], *, dry_run: bool
) -> None:
    """Show what changes, then write."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    new = calibrations_text(calibrations)
    diff = difflib.unified_diff(
        old.splitlines(), new.splitlines(), str(path), f"{path} (new)", lineterm=""
    )
    console.print(Syntax("\n".join(diff), "diff", background_color="default", word_wrap=True))
    if not dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(new, encoding="utf-8")
