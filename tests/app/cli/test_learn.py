"""`train` from a ledger, `routers` and `shadow`, as people run them."""

import json
import random
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from gateway.accounting.database import feedback, open_for_writing
from gateway.core.entry import LedgerEntry
from gateway.routing.classifier import load_scorer
from gateway.routing.registry import Registry
from tests.accounting.ledger_entries import NOON, entry, record
from tests.gateway_process import run_cli

QUIET = {"OPENAI_API_KEY": "", "GATEWAY_API_KEYS": ""}
SHIPPED = load_scorer()
TOPICS = ["rivers", "bridges", "markets", "gardens", "engines", "harbours", "castles"]


def config(folder: Path) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump({"ledger": {"url": f"sqlite:///{folder}/ledger.db"}}))
    return path


def fill(folder: Path, requests: int, *, learnable: bool, share: float = 1.0) -> None:
    """Traffic in which the small tier fails at whatever is about falconry, or by chance alone."""
    chance = random.Random(11)
    entries: list[LedgerEntry] = []
    ratings = []
    for number in range(requests):
        is_hard = number % 2 == 0
        subject = "falconry" if is_hard else "pottery"
        text = f"Tell me about {subject} and {chance.choice(TOPICS)}, number {number}, please."
        score = SHIPPED.score([{"role": "user", "content": text}])
        threshold = 0.3
        greedy = score >= threshold
        is_large = chance.random() < 0.5 if chance.random() < share else greedy
        propensity = 1 - share / 2 if is_large == greedy else share / 2
        entries.append(
            entry(
                request_id=f"r{number}",
                session=f"s{number}",
                ts=NOON + timedelta(seconds=number),
                tier="large" if is_large else "small",
                reason="explored",
                score=score,
                threshold=threshold,
                propensity=propensity,
                messages=json.dumps([{"role": "user", "content": text}]),
            )
        )
        fails = 0.5 if not learnable else 0.05 if is_large or not is_hard else 0.9
        rating = float(chance.random() > fails)
        ratings.append({"request_id": f"r{number}", "ts": NOON, "score": rating})
    url = f"sqlite:///{folder}/ledger.db"
    record(url, *entries)
    engine = open_for_writing(url, durable=False)
    with engine.begin() as connection:
        connection.execute(sa.insert(feedback), ratings)
    engine.dispose()


def train(folder: Path, *arguments: str, status: int = 0) -> str:
    where = ("--config", config(folder), "--folder", folder / "routers")
    return " ".join(run_cli("train", *where, *arguments, env=QUIET, status=status).split())


def test_a_router_that_learns_is_promoted_and_can_be_taken_back(tmp_path: Path) -> None:
    fill(tmp_path, 1_600, learnable=True)
    assert "is promoted" in train(tmp_path)
    registry = Registry(tmp_path / "routers")
    current = registry.current()
    assert current is not None
    learnt = load_scorer(current)
    hard, easy = (
        [{"role": "user", "content": f"Tell me about {subject} and lakes, please."}]
        for subject in ("falconry", "pottery")
    )
    before = SHIPPED.score(hard) - SHIPPED.score(easy)
    assert learnt.score(hard) - learnt.score(easy) > before + 0.1
    where = ("--config", config(tmp_path), "--folder", tmp_path / "routers")
    assert learnt.version in run_cli("routers", "list", *where, env=QUIET)
    assert "the shipped router" in run_cli("routers", "rollback", *where, env=QUIET)
    assert registry.current() is None
    run_cli("routers", "promote", learnt.version, *where, env=QUIET)
    assert registry.current() is not None


def test_a_router_that_learnt_noise_is_kept_and_not_promoted(tmp_path: Path) -> None:
    fill(tmp_path, 1_600, learnable=False)
    assert "not promoted" in train(tmp_path)
    registry = Registry(tmp_path / "routers")
    assert len(registry.versions()) == 1
    assert registry.promoted() == []


def test_a_dry_run_promotes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 1_600, learnable=True)
    assert "would be promoted" in train(tmp_path, "--dry-run")
    assert Registry(tmp_path / "routers").promoted() == []


@pytest.mark.parametrize(
    ("requests", "share", "words"),
    [(200, 1.0, "200 are needed"), (900, 0.0, "might have gone either way")],
)
def test_too_little_is_refused_with_a_reason(
    tmp_path: Path, requests: int, share: float, words: str
) -> None:
    fill(tmp_path, requests, learnable=True, share=share)
    assert words in train(tmp_path, status=1)
    assert Registry(tmp_path / "routers").promoted() == []


def test_without_kept_messages_there_is_nothing_to_learn(tmp_path: Path) -> None:
    record(f"sqlite:///{tmp_path}/ledger.db", entry(score=0.5, threshold=0.5))
    assert "set ledger.keep_messages" in train(tmp_path, status=1)


def test_a_shadow_is_compared_with_the_live_router(tmp_path: Path) -> None:
    chance = random.Random(2)
    entries, ratings = [], []
    for number in range(400):
        shadow = chance.random()
        fails = chance.random() < shadow  # the shadow knows, the live router guesses
        large = chance.random() < 0.5
        entries.append(
            entry(
                request_id=f"r{number}",
                tier="large" if large else "small",
                reason="explored",
                score=chance.random(),
                threshold=0.5,
                propensity=0.5,
                shadow_version="r2-shadow",
                shadow_score=shadow,
            )
        )
        ratings.append({"request_id": f"r{number}", "ts": NOON, "score": float(large or not fails)})
    url = f"sqlite:///{tmp_path}/ledger.db"
    record(url, *entries)
    engine = open_for_writing(url, durable=False)
    with engine.begin() as connection:
        connection.execute(sa.insert(feedback), ratings)
    engine.dispose()
    shown = run_cli("shadow", "--config", config(tmp_path), env=QUIET)
    assert "r2-shadow" in shown
    (line,) = [line for line in shown.splitlines() if "AUROC" in line]
    live, other = (float(part) for part in line.replace("│", " ").split()[-2:])
    assert live < 0.6
    assert other > 0.75


def test_without_shadow_scores_it_is_said(tmp_path: Path) -> None:
    run_cli("shadow", "--config", config(tmp_path), env=QUIET, status=1)
