"""`slm-gateway score`: difficulty scores for a file of prompts."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import orjson
import typer
from rich.progress import track

from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit
from gateway.routing.classifier import ArtefactMismatch, Scorer, load_scorer


class BadLine(Exception):
    """A line that can't be scored; the message names it."""


def score(
    source: Annotated[Path, typer.Option("--input", help="JSON lines, or .gz of them.")],
    output: Annotated[Path, typer.Option("--output", help="Where the scores go.")],
    config: ConfigFile = None,
) -> None:
    """Score `{"prompt_id", "prompt" | "messages"}` a line into `{"prompt_id", "score"}`."""
    settings = settings_or_exit(config)
    try:
        scorer = load_scorer(settings.routing.classifier)
        lines = _lines(source)
        with output.open("wb") as scores:
            progress = track(
                enumerate(lines, 1), description="score", total=len(lines), transient=True
            )
            for number, line in progress:
                scores.write(orjson.dumps(scored(line, number, scorer)) + b"\n")
    except (OSError, ArtefactMismatch, BadLine) as error:
        refuse(str(error), 1)
    typer.echo(f"{len(lines):,} scores in {output}, by router {scorer.version}", err=True)


def scored(line: bytes, number: int, scorer: Scorer) -> dict[str, Any]:
    """One line's score. Raises BadLine."""
    try:
        row = orjson.loads(line)
        prompt_id = row["prompt_id"]
        messages = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
        return {"prompt_id": prompt_id, "score": scorer.score(messages)}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise BadLine(
            f'line {number} is not {{"prompt_id", "prompt" | "messages"}}: {problem}'
        ) from error


def _lines(path: Path) -> list[bytes]:
    with _opened(path) as file:
        return [line for line in _stripped(file) if line]


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]  # a binary file like any other
    return path.open("rb")


def _stripped(file: IO[bytes]) -> Iterator[bytes]:
    return (line.strip() for line in file)
