"""`calibrate` as people run it, over a ledger that a real writer filled."""

import random
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from gateway.accounting.database import feedback, open_for_writing
from gateway.accounting.history import LoggedRequest
from gateway.app.calibration import evidence_of
from gateway.core.deployment import Tier
from gateway.core.price import Cost
from gateway.core.usage import Usage
from gateway.routing.classifier import load_scorer
from gateway.routing.solving import quality_kept
from gateway.settings import load_calibrations
from tests.accounting.ledger_entries import NOON, entry, record
from tests.gateway_process import run_cli

QUIET = {"OPENAI_API_KEY": "", "GATEWAY_API_KEYS": ""}
ROUTER = load_scorer().version


def config(folder: Path, **routing: Any) -> Path:
    deployments = [
        {
            "name": name,
            "tier": tier,
            "backend": "openai",
            "model": name,
            "base_url": "http://127.0.0.1:9/v1",
            "price": {"input": price, "output": price},
        }
        for tier, name, price in (("small", "tiny", 0), ("large", "big", 10))
    ]
    ledger = {"url": f"sqlite:///{folder}/ledger.db"}
    path = folder / "gateway.yaml"
    sections = {"deployments": deployments, "ledger": ledger, "routing": routing}
    path.write_text(yaml.safe_dump(sections))
    return path


def fill(folder: Path, requests: int, *, rated: int, explored: float = 0.5) -> None:
    """A day of requests; the small tier fails with a probability of the score."""
    chance = random.Random(7)
    entries, ratings = [], []
    for number in range(requests):
        score = chance.random()
        is_large = score >= 0.5
        if chance.random() < explored:
            is_large = chance.random() < 0.5
        greedy = is_large == (score >= 0.5)
        propensity = 1 - explored / 2 if greedy else explored / 2
        entries.append(
            entry(
                request_id=f"r{number}",
                ts=NOON + timedelta(seconds=86_400 * number / requests),
                tier="large" if is_large else "small",
                deployment="big" if is_large else "tiny",
                reason="above_threshold" if is_large else "below_threshold",
                score=score,
                threshold=0.5,
                router_version=ROUTER,
                propensity=propensity if explored else 1.0,
                usage=Usage(800, 200),
                confidence=None if is_large else 1 - score,
                cost=Cost(Decimal("0.01" if is_large else "0"), "computed", "p"),
            )
        )
        fails = 0.1 if is_large else score
        ratings.append({"request_id": f"r{number}", "score": float(chance.random() > fails)})
    url = f"sqlite:///{folder}/ledger.db"
    record(url, *entries)
    if rated:
        engine = open_for_writing(url, durable=False)
        with engine.begin() as connection:
            rows = [{**row, "ts": NOON} for row in ratings[:rated]]
            connection.execute(sa.insert(feedback), rows)
        engine.dispose()


def calibrate(path: Path, *arguments: str, status: int = 0) -> str:
    output = path.parent / "calibration.yaml"
    return run_cli(
        "calibrate", "--config", path, "--output", output, *arguments, env=QUIET, status=status
    )


def test_rated_and_explored_traffic_solves_a_quality_that_the_gateway_then_uses(
    tmp_path: Path,
) -> None:
    fill(tmp_path, 4_000, rated=4_000)
    policies = {"balanced": {"target": {"quality": 0.9}}}
    shown = calibrate(config(tmp_path, policies=policies))
    assert "+balanced:" in shown
    solved = load_calibrations(tmp_path / "calibration.yaml")["balanced"]
    assert solved.solved_on == "ledger"
    assert solved.samples == 4_000
    assert solved.low < 0.9 < solved.value < solved.high
    # Large answers are right in 9 of 10; the threshold t that keeps 90 % of that loses
    # t^2/2 - 0.1 t = 0.09 on the small side: t = 0.54. The promise asks for somewhat less.
    assert 0.3 < solved.threshold < 0.6
    path = config(tmp_path, policies=policies, calibration=f"{tmp_path}/calibration.yaml")
    assert f"{solved.threshold:.4g}" in run_cli("check", "--config", path, env=QUIET)


def test_a_cascade_is_calibrated_by_the_same_command(tmp_path: Path) -> None:
    fill(tmp_path, 3_000, rated=3_000)
    policies = {"balanced": {"target": {"quality": 0.9}, "cascade": {}}}
    shown = calibrate(config(tmp_path, policies=policies))
    assert "balanced, cascade: min_confidence" in shown
    solved = load_calibrations(tmp_path / "calibration.yaml")["balanced"].min_confidence
    # Small answers at confidence c are right with c, and most stay below a score of 0.5.
    assert solved is not None
    assert 0.4 < solved < 0.95
    path = config(tmp_path, policies=policies, calibration=f"{tmp_path}/calibration.yaml")
    assert f"{solved:.4g}" in run_cli("check", "--config", path, env=QUIET)


def test_a_tier_that_is_rated_less_often_counts_no_less() -> None:
    """The small tier is right in 6 of 10, the large one in 9; small answers are rated twice as
    often, and the truth is that everything small keeps two thirds."""
    chance = random.Random(4)
    requests = []
    for number in range(20_000):
        is_large = chance.random() < 0.5
        rates = 0.2 if is_large else 0.4
        right = chance.random() < (0.9 if is_large else 0.6)
        tier = Tier.LARGE if is_large else Tier.SMALL
        requests.append(
            LoggedRequest(
                request_id=str(number),
                ts=NOON,
                tier=tier,
                answer_tier=tier,
                reason="explored",
                score=chance.random(),
                threshold=0.5,
                propensity=0.5,
                feedback=float(right) if chance.random() < rates else None,
            )
        )
    evidence = evidence_of(requests, {})
    assert quality_kept(evidence.samples, 1.0) == pytest.approx(2 / 3, abs=0.03)
    assert evidence.reach == 2


def test_too_few_ratings_are_refused_and_the_shipped_set_is_an_open_choice(tmp_path: Path) -> None:
    fill(tmp_path, 300, rated=120)
    path = config(tmp_path, policies={"balanced": {"target": {"quality": 0.9}}})
    assert "120 outcomes are known, 200 are needed" in calibrate(path, status=1)
    assert not (tmp_path / "calibration.yaml").exists()
    shown = calibrate(path, "--on", "shipped")
    assert "shipped calibration set" in " ".join(shown.split())
    assert load_calibrations(tmp_path / "calibration.yaml")["balanced"].solved_on == "shipped"


def test_without_exploration_ratings_say_nothing_about_the_other_tier(tmp_path: Path) -> None:
    fill(tmp_path, 300, rated=300, explored=0)
    path = config(tmp_path, policies={"balanced": {"target": {"quality": 0.9}}})
    assert "set routing.exploration" in calibrate(path, status=1)


def test_without_any_rating_the_shipped_set_is_used_and_said(tmp_path: Path) -> None:
    fill(tmp_path, 300, rated=0)
    path = config(tmp_path, policies={"balanced": {"target": {"quality": 0.9}}})
    assert "shipped calibration set" in " ".join(calibrate(path).split())


def test_a_share_needs_no_ratings(tmp_path: Path) -> None:
    fill(tmp_path, 1_000, rated=0)
    calibrate(config(tmp_path), "--target", "large_share=0.25")
    solved = load_calibrations(tmp_path / "calibration.yaml")["balanced"]
    assert solved.solved_on == "ledger"
    assert solved.threshold == pytest.approx(0.75, abs=0.04)
    assert solved.low < 0.25 < solved.high


def test_money_a_day(tmp_path: Path) -> None:
    fill(tmp_path, 1_000, rated=0)
    calibrate(config(tmp_path), "--target", "usd_per_day=2")
    solved = load_calibrations(tmp_path / "calibration.yaml")["balanced"]
    assert solved.threshold == pytest.approx(0.8, abs=0.04)  # 200 of 1,000 at 0.01 USD
    assert 1.5 < solved.low < solved.value <= 2 < solved.high


def test_other_policies_in_the_file_stay_and_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 1_000, rated=0)
    path = config(tmp_path)
    calibrate(path, "--target", "large_share=0.25", "--policy", "cheap")
    before = (tmp_path / "calibration.yaml").read_text()
    calibrate(path, "--target", "large_share=0.5", "--dry-run")
    assert (tmp_path / "calibration.yaml").read_text() == before
    calibrate(path, "--target", "large_share=0.5")
    assert load_calibrations(tmp_path / "calibration.yaml").keys() == {"balanced", "cheap"}


def test_scores_of_another_router_are_no_evidence(tmp_path: Path) -> None:
    record(
        f"sqlite:///{tmp_path}/ledger.db", *(entry(score=0.5, threshold=0.5) for _ in range(200))
    )
    shown = calibrate(config(tmp_path), "--target", "large_share=0.25")
    assert "shipped calibration set" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "speed=1"), "give quality=0.95"),
        (("--target", "quality=2"), "give quality=0.95"),
        (("--policy", "absent"), "There is no policy 'absent'"),
        (("--policy", "cheap"), "No such policy has a target"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    assert words in calibrate(config(tmp_path), *arguments, status=2)
