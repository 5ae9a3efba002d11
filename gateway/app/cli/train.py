"""`slm-gateway train` and `slm-gateway evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gateway.app.cli.options import refuse
from gateway.routing.classifier import ArtefactMismatch, load_scorer

DataFolder = Annotated[Path, typer.Option("--data", help="A folder of outcome tables (.jsonl.gz).")]


def train(
    data: DataFolder,
    output: Annotated[Path, typer.Option("--output", help="Where the classifier goes.")],
) -> None:
    """Train a classifier; the same data give the same file."""
    with _training_extra():
        from gateway.routing.training.examples import DataError
        from gateway.routing.training.train import train as fit_classifier
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn()) as progress:
        task = progress.add_task("train", total=None)

        def report(step: str, done: int, total: int) -> None:
            progress.update(task, description=step, completed=done, total=total)

        try:
            scorer = fit_classifier(data, output, report)
        except DataError as error:
            refuse(str(error), 1)
    typer.echo(f"router {scorer.version} in {output}; use it with routing.classifier: {output}")


def evaluate(
    data: DataFolder,
    classifier: Annotated[
        Path | None, typer.Option(help="A classifier's file; by default the one in the package.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which rows of the tables.")] = "dev",
) -> None:
    """Measure a classifier per source, beside random and length."""
    with _training_extra():
        from gateway.routing.training.evaluate import evaluate as measure
        from gateway.routing.training.examples import DataError
    try:
        rows = measure(load_scorer(classifier), data, split)
    except (DataError, ArtefactMismatch, OSError) as error:
        refuse(str(error), 1)
    table = Table("source", "router", "prompts", "APGR", "CPT(50%)", "CPT(80%)", "AUROC", "ECE")
    for row in rows:
        table.add_row(
            row.source,
            row.router,
            f"{row.prompts:,}",
            *(
                "" if value is None else f"{value:.3f}"
                for value in (row.apgr, row.cpt50, row.cpt80, row.auroc, row.calibration_error)
            ),
        )
    Console().print(table)


@contextmanager
def _training_extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        refuse(f"{error.name} is missing: install `slm-gateway[train]`.", 1)
