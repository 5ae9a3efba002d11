"""`slm-gateway replay`: the log at other thresholds, or under another configuration; no calls."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from gateway.accounting.comparison import Thresholds, compare
from gateway.accounting.filters import Filters
from gateway.accounting.history import requests_of
from gateway.accounting.query import LedgerReader
from gateway.accounting.replay import Sweep, sweep
from gateway.app.cli.costs import When, tag_filter
from gateway.app.cli.figures import ReportFormat
from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit, training_extra
from gateway.app.cli.replay_report import write_comparison, write_sweep
from gateway.app.deployments import deployments_of
from gateway.app.policies import policy_thresholds
from gateway.app.tier_prices import tier_prices
from gateway.core.errors import LedgerUnavailable
from gateway.settings import ConfigError, Environment, Settings

_MOST_THRESHOLDS = 1001


def thresholds_in(text: str) -> tuple[float, ...]:
    """The thresholds of `START:STOP:STEP`, both ends included, in exact decimal steps."""
    try:
        start, stop, step = map(Decimal, text.split(":"))
        fits = 0 <= start <= stop <= 1 and 0 < step <= 1
    except (ValueError, InvalidOperation):
        fits = False
    if not fits:
        raise typer.BadParameter(
            f"{text!r} isn't START:STOP:STEP with 0 ≤ START ≤ STOP ≤ 1 and 0 < STEP ≤ 1, "
            "such as 0:1:0.05",
            param_hint="--thresholds",
        )
    if stop - start >= step * _MOST_THRESHOLDS:
        raise typer.BadParameter(
            f"{text!r} makes more than {_MOST_THRESHOLDS} thresholds",
            param_hint="--thresholds",
        )
    count = int((stop - start) / step) + 1
    return tuple(float(start + step * number) for number in range(count))


def replay(
    config: ConfigFile = None,
    thresholds: Annotated[
        str, typer.Option(metavar="START:STOP:STEP", help="Which to replay.")
    ] = "0:1:0.05",
    policy: Annotated[
        Path | None,
        typer.Option(metavar="NEW.yaml", help="Compare this configuration with the live one."),
    ] = None,
    since: When = None,
    until: When = None,
    key: Annotated[str | None, typer.Option(help="Only this key id.")] = None,
    tag: Annotated[
        str | None, typer.Option(parser=tag_filter, metavar="KEY=VALUE", help="Only this tag.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw the thresholds as a PNG too.")
    ] = None,
    output: Annotated[
        ReportFormat, typer.Option("--format", help="For people or programs.")
    ] = "table",
    listed: Annotated[
        int, typer.Option("--list", min=0, help="With --policy: so many of the newest moves.")
    ] = 20,
) -> None:
    """Replay the ledger's requests at other thresholds: cost, shares, quality. Calls nothing."""
    grid = thresholds_in(thresholds)
    filters = Filters(since=since, until=until, key=key, tag=tag)
    settings = settings_or_exit(config)
    reader = LedgerReader(settings.ledger.url)
    if plot is not None:
        with training_extra():  # before the ledger is read, which may take a while
            importlib.import_module("matplotlib")
    try:
        live = _configured(settings, reader)
        marks = {"live": live.default_threshold}
        if policy is not None:
            new = _changed(policy, settings, reader)
            marks["new"] = new.default_threshold
            outcome = compare(requests_of(reader, **filters), live, new, listed=listed)
            write_comparison(outcome, live, new, output)
        if policy is None or plot is not None:
            points = sorted({*grid, *marks.values()})
            swept = sweep(requests_of(reader, **filters), points, live.prices)
            if policy is None:
                write_sweep(swept, live, output)
            if plot is not None:
                _draw(swept, marks, plot)
    except LedgerUnavailable as error:
        refuse(error.message, 1)


def _draw(swept: Sweep, marks: Mapping[str, float], path: Path) -> None:
    from gateway.app.plots import plot_sweep

    try:
        plot_sweep(swept, marks, path)
    except OSError as error:
        refuse(f"{path} can't be written: {error.strerror}.", 1)


def _changed(path: Path, live: Settings, reader: LedgerReader) -> Thresholds:
    settings = settings_or_exit(path)
    if settings.routing.classifier != live.routing.classifier:
        typer.echo("Another classifier would score anew; these are logged scores.", err=True)
    return _configured(settings, reader)


def _configured(settings: Settings, reader: LedgerReader) -> Thresholds:
    try:
        by_policy = policy_thresholds(settings)
    except ConfigError as error:
        refuse(str(error))
    deployments = deployments_of(settings, Environment.of_process())
    prices = tier_prices(deployments, reader)
    return Thresholds(by_policy, settings.routing.default_policy, prices)
