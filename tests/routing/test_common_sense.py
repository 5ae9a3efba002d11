"""Hard above easy in every language, by prompts that no weight was fitted to.

The prompts in `common_sense/` were written for this test alone: everyday requests, long pasted
texts, stories with technical words and false claims of difficulty on one side, one-line theorems,
debugging, clinical and legal cases, terse expert questions and padded hard ones on the other.
"""

import json
import random
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from gateway.routing.classifier import load_scorer

SCORER = load_scorer()
FOLDER = Path(__file__).parent / "common_sense"
LANGUAGES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))

Row = dict[str, Any]


def rows(language: str) -> list[Row]:
    lines = (FOLDER / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def in_order(easy: list[float], hard: list[float]) -> float:
    """The share of (easy, hard) pairs in the right order; ties count half."""
    return sum((a < b) + 0.5 * (a == b) for a in easy for b in hard) / (len(easy) * len(hard))


def asked(text: str) -> float:
    return SCORER.score([{"role": "user", "content": text}])


def test_there_are_enough_languages_and_prompts() -> None:
    assert len(LANGUAGES) >= 12
    assert all(len(rows(language)) >= 30 for language in LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_hard_lies_above_easy_and_length_does_not_decide(language: str) -> None:
    by_level: dict[str, list[Row]] = {"easy": [], "hard": []}
    for row in rows(language):
        by_level[row["level"]].append(row)
    scores = {
        level: [SCORER.score(row["messages"]) for row in found] for level, found in by_level.items()
    }
    lengths = {
        level: [float(len(row["messages"][-1]["content"])) for row in found]
        for level, found in by_level.items()
    }
    ours = in_order(scores["easy"], scores["hard"])
    assert ours >= 0.95
    assert ours > in_order(lengths["easy"], lengths["hard"]) + 0.1


@pytest.mark.parametrize("language", LANGUAGES)
def test_most_fall_on_their_side_of_the_default_threshold(language: str) -> None:
    right = [
        (SCORER.score(row["messages"]) >= 0.5) == (row["level"] == "hard") for row in rows(language)
    ]
    assert sum(right) / len(right) >= 0.85


def with_typos(text: str, chance: random.Random) -> str:
    """One pair of neighbouring letters in 25 characters changes places."""
    letters = list(text)
    for _ in range(max(1, len(letters) // 25)):
        place = chance.randrange(max(1, len(letters) - 1))
        pair = letters[place : place + 2]
        if len(pair) == 2 and all(letter.isalpha() for letter in pair):
            letters[place : place + 2] = reversed(pair)
    return "".join(letters)


def single_questions() -> list[Row]:
    return [row for language in LANGUAGES for row in rows(language) if len(row["messages"]) == 1]


def test_a_typo_hardly_moves_a_score() -> None:
    chance = random.Random(5)
    moves = []
    for row in single_questions():
        text = row["messages"][0]["content"]
        moves.append(abs(asked(text) - asked(with_typos(text, chance))))
    assert median(moves) <= 0.02
    assert sorted(moves)[int(0.9 * len(moves))] <= 0.2


def test_a_paraphrase_moves_a_score_little() -> None:
    moves = [
        abs(SCORER.score(row["messages"]) - asked(row["paraphrase"])) for row in single_questions()
    ]
    assert median(moves) <= 0.1
