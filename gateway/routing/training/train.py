"""From a data folder to a classifier's file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gateway.routing.classifier import Scorer
from gateway.routing.training.examples import Example, outcome_examples, own_examples
from gateway.routing.training.fit import design_of, fit

#: Thresholds whose consequences are stored with the classifier.
THRESHOLDS = [step / 100 for step in range(101)]

Report = Callable[[str, int, int], None]


def train(data: Path, output: Path, report: Report) -> Scorer:
    """Fit on the train splits, calibrate on `dev` and our held-out prompts, write `output`.

    `report` is told each step: its name, how many are done, how many there are. Raises DataError.
    """
    report("read the prompts", 0, 4)
    examples = [*outcome_examples(data), *own_examples()]
    learning = [example for example in examples if example.split == "train"]
    held_out = [example for example in examples if example.split in {"dev", "heldout"}]
    report(f"compute the features of {len(examples):,} prompts", 1, 4)
    train_design, calibration_design = design_of(learning), design_of(held_out)
    report("fit the weights", 2, 4)
    artefact = fit(train_design, calibration_design)
    report("measure the thresholds", 3, 4)
    artefact["operating_points"] = _operating_points(artefact, held_out)
    content = json.dumps(artefact, ensure_ascii=False, separators=(",", ":")).encode()
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(gzip.compress(content, mtime=0))
    report("done", 4, 4)
    from gateway.routing.classifier import load_scorer

    return load_scorer(output)


def _operating_points(
    artefact: dict[str, Any], held_out: Sequence[Example]
) -> list[tuple[float, float, float]]:
    """(threshold, quality kept, share of chat prompts sent to large) on prompts not learnt from."""
    scorer = Scorer({**artefact, "operating_points": []}, "unsaved")
    outcomes = [
        (scorer.score(example.messages), example.small_score, example.large_score)
        for example in held_out
        if example.small_score is not None and example.large_score is not None
    ]
    chat = [scorer.score(example.messages) for example in held_out if example.small_score is None]
    best = sum(large for _, _, large in outcomes)
    points = []
    for threshold in THRESHOLDS:
        reached = sum(large if score >= threshold else small for score, small, large in outcomes)
        share = sum(score >= threshold for score in chat) / max(1, len(chat))
        points.append((threshold, round(reached / best, 5), round(share, 5)))
    return points
