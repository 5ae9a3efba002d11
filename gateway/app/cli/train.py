"""`slm-gateway train` and `slm-gateway evaluate`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway.app.cli.costs import When
from gateway.app.cli.figures import console_for_tables, write_json
from gateway.app.cli.learn import Folder, learn_from_ledger
from gateway.app.cli.options import ConfigFile, refuse, training_extra
from gateway.routing.classifier import ArtefactMismatch, load_scorer

if TYPE_CHECKING:
    from gateway.routing.training.evaluate import Measurement

DataFolder = Annotated[Path, typer.Option("--data", help="A folder of outcome tables (.jsonl.gz).")]


def train(
    data: Annotated[
        Path | None,
        typer.Option(help="A folder of outcome tables (.jsonl.gz); without it, your ledger."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="With --data: where the classifier goes.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE", help="With --data: leave a source out.")
    ] = None,
    with_dev: Annotated[bool, typer.Option(help="With --data: learn from dev too.")] = False,  # noqa: FBT002 (typer)
    config: ConfigFile = None,
    since: When = None,
    folder: Folder = None,
    dry_run: Annotated[bool, typer.Option(help="Judge, but promote nothing.")] = False,  # noqa: FBT002 (typer)
) -> None:
    """Train a router: from outcome tables, or the one in use anew by your ledger's feedback.

    From a ledger it is promoted only if it is shown to beat the one in use and the random control.
    """
    if data is None:
        learn_from_ledger(config, since, folder, dry_run=dry_run)
        return
    if output is None:
        refuse("--output is needed with --data.")
    _refuse_empty(data)
    with training_extra(), Console(stderr=True).status("reading, fitting, calibrating"):
        from gateway.routing.training.examples import DataError
        from gateway.routing.training.recipe import train as fit_classifier

        try:
            report = fit_classifier(data, output, without=without or (), with_dev=with_dev)
        except (DataError, OSError) as error:
            refuse(str(error), 1)
    typer.echo(
        f"{report.outcomes:,} outcomes and {report.prompts:,} of our own prompts gave "
        f"{report.vocabulary:,} n-grams, {report.size_bytes:,} bytes: "
        f"router {load_scorer(output).version}. Use it with routing.classifier: {output}"
    )


def evaluate(
    data: DataFolder,
    classifier: Annotated[
        Path | None, typer.Option(help="A classifier's file; by default the one in the package.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which rows of the tables.")] = "dev",
    plot: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw each source's curve with its band.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The rows as JSON.")] = False,  # noqa: FBT002 (typer)
) -> None:
    """Measure a classifier per source, beside random, length, TF-IDF and LiteLLM's rules.

    LiteLLM's rules need the package litellm.
    """
    _refuse_empty(data)
    with training_extra(), Console(stderr=True).status("scoring, resampling"):
        from gateway.routing.training.evaluate import evaluate as measure
        from gateway.routing.training.examples import DataError

        try:
            found = measure(load_scorer(classifier), data, split)
        except (ArtefactMismatch, DataError, OSError) as error:
            refuse(str(error), 1)
        if plot is not None:
            from gateway.app.plots import plot_cost_quality

            plot_cost_quality(found.curves, plot)
    if as_json:
        write_json([asdict(row) for row in found.measurements])
        return
    table = Table(
        "source", "router", "prompts", "APGR", "95%", "CPT(50%)", "CPT(80%)", "AUROC", "ECE"
    )
    for row in found.measurements:
        table.add_row(row.source, row.router, f"{row.prompts:,}", *_figures(row))
    console_for_tables().print(table)


def _figures(row: Measurement) -> list[str]:
    interval = "" if row.interval is None else "{:.3f}-{:.3f}".format(*row.interval)
    values = (row.cpt50, row.cpt80, row.auroc, row.calibration_error)
    return [_figure(row.apgr), interval, *map(_figure, values)]


def _figure(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


def _refuse_empty(data: Path) -> None:
    if not any(data.glob("*.jsonl.gz")):
        refuse(f"{data} has no outcome tables (*.jsonl.gz).", 1)
