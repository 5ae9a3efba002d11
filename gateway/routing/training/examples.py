"""What the classifier learns from: outcomes of model pairs, and our own labelled prompts."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import Any

Row = Mapping[str, Any]
Messages = Sequence[Mapping[str, Any]]

OUTCOME_FIELDS = frozenset(
    {"prompt_id", "source", "benchmark", "prompt", "split", "small_model", "large_model"}
    | {"small_score", "large_score"}
)

#: Models whose mean score differs by at most this from the pair's own model count as its kind.
SAME_KIND_WITHIN = 0.08


class DataError(Exception):
    """The data can't be learnt from; the message names the file and the line."""


@dataclass(slots=True, frozen=True)
class Outcome:
    """A prompt that a small and a large model have answered, each scored 0 to 1.

    `falls_short` is the probability that a model of the small one's kind fails where one of the
    large one's kind succeeds: over all models of each kind where the data have them. Near
    duplicates share a `group`.
    """

    id: str
    source: str
    benchmark: str
    split: str
    messages: Messages
    small_score: float
    large_score: float
    falls_short: float
    group: str


@dataclass(slots=True, frozen=True)
class LabelledPrompt:
    """A prompt of ours with the difficulty that its authors gave it (`prompts/LABELS.md`)."""

    id: str
    language: str
    kind: str
    split: str
    messages: Messages
    difficulty: float
    pair: str | None = None


def read_outcomes(folder: Path) -> list[Outcome]:
    """Every outcome of the folder's `*.jsonl.gz` files. Raises DataError."""
    rows = {row["prompt_id"]: row for path in _tables(folder) for row in _rows(path)}
    by_benchmark: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows.values():
        by_benchmark[row["source"], _benchmark(row)].append(row)
    return [outcome for group in by_benchmark.values() for outcome in _outcomes(group)]


def _tables(folder: Path) -> list[Path]:
    tables = sorted(folder.glob("*.jsonl.gz"))
    if not tables:
        raise DataError(f"there is no .jsonl.gz file in {folder}")
    return tables


def _rows(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                missing = sorted(OUTCOME_FIELDS - row.keys())
            except (ValueError, AttributeError) as error:
                raise DataError(f"{path.name}, line {number}: not a JSON object") from error
            if missing:
                raise DataError(f"{path.name}, line {number}: without {', '.join(missing)}")
            yield row


def _benchmark(row: Row) -> str:
    """MMLU's subjects are one benchmark; so are MMLU-Pro's."""
    benchmark: str = row["benchmark"]
    return "all" if row["source"] == "mmlupro" else benchmark.split("/", maxsplit=1)[0]


def _outcomes(rows: Sequence[Row]) -> Iterator[Outcome]:
    train = [row["scores"] for row in rows if row["split"] == "train" and row.get("scores")]
    means = {model: fmean(s[model] for s in train if model in s) for model in _models(train)}
    for row in rows:
        small, large = row["small_score"], row["large_score"]
        scores = row.get("scores")
        falls_short = float(large > small)
        if scores:
            small_kind = _mean_of_kind(row["small_model"], scores, means)
            large_kind = _mean_of_kind(row["large_model"], scores, means)
            falls_short = large_kind * (1 - small_kind)
        yield Outcome(
            id=row["prompt_id"],
            source=row["source"],
            benchmark=_benchmark(row),
            split=row["split"],
            messages=_as_messages(row["prompt"]),
            small_score=small,
            large_score=large,
            falls_short=falls_short,
            group=str(row.get("group") or row["prompt_id"]),
        )


def _models(scores: Sequence[Mapping[str, float]]) -> set[str]:
    return {model for row in scores for model in row}


def _mean_of_kind(model: str, scores: Mapping[str, float], means: Mapping[str, float]) -> float:
    """The mean score over the models that are about as good as `model`."""
    return fmean(
        score
        for name, score in scores.items()
        if abs(means.get(name, -1) - means[model]) <= SAME_KIND_WITHIN
    )


def read_prompts(folder: Path | None = None) -> list[LabelledPrompt]:
    """The labelled prompts of a folder; without one, those in the package."""
    source = resources.files("gateway.routing").joinpath("prompts") if folder is None else folder
    found = []
    for path in sorted(source.iterdir(), key=lambda path: path.name):
        if not path.name.endswith(".jsonl"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found.append(
                LabelledPrompt(
                    id=row["id"],
                    language=row["lang"],
                    kind=row["kind"],
                    split=row["split"],
                    messages=row["messages"],
                    difficulty=float(row["difficulty"]),
                    pair=row.get("pair"),
                )
            )
    return found


def _as_messages(prompt: str) -> Messages:
    return [{"role": "user", "content": prompt}]
