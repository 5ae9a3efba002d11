"""Rows and sums as JSON, CSV or Parquet, a batch at a time, to standard output or into a file."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TextIO

import orjson
from rich.console import Console
from rich.progress import track

from gateway.app.cli.options import refuse

ExportFormat = Literal["json", "csv", "parquet"]
Records = Sequence[dict[str, Any]]

#: From so many records on, a terminal sees how far the export is.
_LONG = 20_000


def export(
    form: ExportFormat,
    columns: Sequence[str],
    batches: Iterable[Records],
    target: Path | None = None,
) -> None:
    """Write records with these columns; to standard output when there is no `target`.

    A file appears when it is whole. Ends the command where the file can't be written, or for
    Parquet without the extra `parquet`.
    """
    if form == "parquet":
        _export_parquet(columns, batches, target)
        return
    with _stream(target) as stream:
        if form == "json":
            _write_json(stream, batches)
        else:
            _write_csv(stream, columns, batches)


def with_progress(batches: Iterable[Records], total: int, batch_size: int) -> Iterable[Records]:
    """The batches, with a bar on standard error where there are many."""
    console = Console(stderr=True)
    if total < _LONG or not console.is_terminal:
        return batches
    count = -(-total // batch_size)
    return track(batches, "Writing rows", total=count, console=console, transient=True)


def _write_json(stream: TextIO, batches: Iterable[Records]) -> None:
    """An array, one record a line."""
    separator = "[\n"
    for record in chain.from_iterable(batches):
        stream.write(separator + orjson.dumps(record).decode())
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_csv(stream: TextIO, columns: Sequence[str], batches: Iterable[Records]) -> None:
    """A header, then one record a line; tags as JSON."""
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for records in batches:
        writer.writerows(
            {**record, "tags": orjson.dumps(record["tags"]).decode()}
            if "tags" in record
            else record
            for record in records
        )


def _export_parquet(
    columns: Sequence[str], batches: Iterable[Records], target: Path | None
) -> None:
    if target is None:
        refuse("Parquet goes into a file: add --output FILE.")
    try:
        from gateway.accounting.parquet import write_parquet
    except ImportError:
        refuse("Parquet needs the extra `parquet`: pip install 'slm-gateway[parquet]'.")
    with _whole_file(target) as path:
        write_parquet(path, columns, batches)


@contextmanager
def _stream(target: Path | None) -> Iterator[TextIO]:
    if target is None:
        yield sys.stdout
        return
    with _whole_file(target) as path, path.open("w", encoding="utf-8", newline="") as stream:
        yield stream


@contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    """A file beside the target, which takes its place once everything is written."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(target)
    except OSError as error:
        refuse(f"{target} can't be written: {error.strerror or error}.", 1)
    finally:
        beside.unlink(missing_ok=True)
