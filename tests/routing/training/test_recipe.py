"""Training on data that the test makes: the same data give the same file, and it learns."""

import gzip
import json
import random
from pathlib import Path

import pytest

from gateway.routing.classifier import load_artefact, load_scorer
from gateway.routing.training.evaluate import evaluate
from gateway.routing.training.recipe import train


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Outcomes in which the word 'thorny' decides."""
    chance = random.Random(1)
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for number in range(240):
        is_hard = number % 2 == 0
        topic = chance.choice(["rivers", "bridges", "markets", "clouds", "engines"])
        rows.append(
            {
                "prompt_id": f"made:{number}",
                "source": "made",
                "benchmark": "made",
                "split": "dev" if number % 4 > 1 else "train",
                "prompt": f"A {'thorny' if is_hard else 'plain'} question {number} on {topic}.",
                "small_model": "small",
                "large_model": "large",
                "group": str(number),
                "small_score": 0.0 if is_hard else 1.0,
                "large_score": 1.0,
            }
        )
    with gzip.open(folder / "made.jsonl.gz", "wt") as lines:
        lines.write("\n".join(map(json.dumps, rows)))
    return folder


def test_the_same_data_give_the_same_file_and_it_has_learnt(data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.json.gz", tmp_path / "b.json.gz"
    report = train(data, first)
    train(data, second)
    assert first.read_bytes() == second.read_bytes()
    assert report.outcomes == 120
    scorer = load_scorer(first)
    hard, easy = (
        scorer.score([{"role": "user", "content": f"A {word} question 999 on rivers."}])
        for word in ("thorny", "plain")
    )
    assert hard > 0.5 > easy
    found = evaluate(scorer, data, "dev")
    by_router = {row.router: row for row in found.measurements if row.source == "made/made"}
    ours, chance = by_router[scorer.version], by_router["random"]
    assert ours.apgr is not None
    assert chance.apgr is not None
    assert ours.apgr > 0.7 > chance.apgr
    assert by_router["TF-IDF"].apgr == pytest.approx(ours.apgr), "it finds the word too"
    assert by_router.keys() >= {"length"}
    assert ours.auroc == 1.0
    curve = found.curves["made/made"][scorer.version]
    assert curve[0][:2] == (0.0, 0.5)
    assert curve[-1][:2] == (1.0, 1.0)
    assert all(low <= quality <= high for _, quality, low, high in curve)
    points = scorer.operating_points
    assert [point.quality for point in points] == sorted((p.quality for p in points), reverse=True)


def test_with_dev_it_learns_from_more_and_calibrates_on_what_it_has_not_seen(
    data: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.json.gz", tmp_path / "b.json.gz"
    report = train(data, first, with_dev=True)
    train(data, second, with_dev=True)
    assert first.read_bytes() == second.read_bytes()
    assert report.outcomes == 240
    artefact, _ = load_artefact(first)
    scores: dict[str, list[float]] = {"hard": [], "easy": []}
    for score, small, _ in artefact["calibration"]:
        scores["easy" if small else "hard"].append(score)
    assert min(scores["hard"]) > max(scores["easy"])
    assert len(scores["hard"]) + len(scores["easy"]) == 120
