"""Thresholds as the router gets them: numbers, solved targets, and calibrated ones."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.app.compose import compose
from gateway.app.policies import (
    policies_of,
    policy_thresholds,
    shipped_samples,
    shipped_scores,
)
from gateway.core.deployment import Tier
from gateway.routing.classifier import load_scorer
from gateway.routing.solving import quality_kept
from gateway.routing.targets import ShareTarget, SpendTarget
from gateway.settings import CalibratedPolicy, ConfigError, Environment, Settings, calibrations_text

SCORER = load_scorer()


def settings(**routing: object) -> Settings:
    return Settings.model_validate({"routing": routing})


def test_numbers_stand_and_the_rest_follow_routing_threshold() -> None:
    policies = {"balanced": {}, "cheap": {"threshold": 0.9}}
    assert policy_thresholds(settings(threshold=0.3, policies=policies)) == {
        "balanced": 0.3,
        "cheap": 0.9,
    }


def test_quality_is_promised_on_the_shipped_samples() -> None:
    strict, loose = (
        policy_thresholds(
            settings(policies={"balanced": {"target": {"quality": q, "confidence": 0.9}}})
        )["balanced"]
        for q in (0.99, 0.9)
    )
    assert strict < loose
    assert quality_kept(shipped_samples(None), loose) > 0.9


def test_shares_and_money_follow_live_traffic() -> None:
    routing = settings(
        threshold=0.4,
        policies={
            "balanced": {"target": {"large_share": 0.3}},
            "capped": {"target": {"usd_per_day": 5}},
        },
    ).routing
    policies = policies_of(routing, SCORER)
    assert isinstance(policies["balanced"].source, ShareTarget)
    assert isinstance(policies["capped"].source, SpendTarget)
    scores = shipped_scores(SCORER)
    at = policies["balanced"].threshold
    assert sum(score >= at for score in scores) / len(scores) == pytest.approx(0.3, abs=0.01)
    assert policies["capped"].threshold == 0.4


def test_the_shipped_policies_lean_as_their_names_say() -> None:
    policies = policies_of(Settings().routing, SCORER)
    assert policies["cheap"].safe_side is Tier.SMALL
    assert policies["quality"].safe_side is Tier.LARGE
    assert policies["quality"].threshold < policies["balanced"].threshold


def test_they_are_the_router_s_own() -> None:
    gateway = compose(Settings(), Environment.of_process(), {})
    routed = {name: policy.threshold for name, policy in gateway.router.policies.items()}
    assert policy_thresholds(Settings()) == routed


def calibration(folder: Path, **changes: object) -> Path:
    values = {
        "target": "quality 0.95 at confidence 0.9",
        "threshold": 0.123,
        "solved_on": "ledger",
        "samples": 400,
        "value": 0.96,
        "low": 0.95,
        "high": 0.97,
        "router": SCORER.version,
        "at": "2026-03-01T12:00:00+00:00",
    }
    path = folder / "calibration.yaml"
    path.write_text(calibrations_text({"quality": CalibratedPolicy(**(values | changes))}))
    return path


def test_a_calibrated_threshold_is_taken_from_its_file(tmp_path: Path) -> None:
    routing = settings(calibration=calibration(tmp_path)).routing
    policy = policies_of(routing, SCORER)["quality"]
    assert policy.threshold == 0.123
    assert "ledger samples (400)" in policy.origin


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"router": "r1-other"}, "calibrated for router r1-other"),
        ({"target": "large_share 0.3"}, "calibrated for large_share 0.3"),
    ],
)
def test_a_stale_calibration_is_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    routing = settings(calibration=calibration(tmp_path, **changes)).routing
    with pytest.raises(ConfigError, match=words):
        policies_of(routing, SCORER)


def test_a_calibration_without_a_target_is_refused_not_ignored(tmp_path: Path) -> None:
    policies = {"balanced": {}, "quality": {"threshold": 0.4}}
    routing = settings(calibration=calibration(tmp_path), policies=policies).routing
    with pytest.raises(ConfigError, match="quality: has no target"):
        policies_of(routing, SCORER)


def test_a_calibration_of_an_unknown_policy_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    routing = settings(calibration=calibration(tmp_path), policies={"balanced": {}}).routing
    with pytest.raises(ConfigError, match="there is no such policy"):
        policies_of(routing, SCORER)
    with pytest.raises(ConfigError, match="slm-gateway calibrate"):
        policies_of(settings(calibration=tmp_path / "absent.yaml").routing, SCORER)


def test_a_typing_mistake_in_the_file_is_refused_with_its_path(tmp_path: Path) -> None:
    path = calibration(tmp_path)
    path.write_text(path.read_text().replace("threshold:", "treshold:"))
    with pytest.raises(ConfigError, match=r"quality\.treshold: unknown key, did you mean thresh"):
        policies_of(settings(calibration=path).routing, SCORER)


def test_a_classifier_that_can_t_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.json\.gz"):
        policy_thresholds(settings(classifier=tmp_path / "absent.json.gz"))


@pytest.mark.parametrize(
    "target", [{}, {"quality": 0.9, "large_share": 0.1}, {"usd_per_day": 0}, {"confidence": 0.9}]
)
def test_a_target_is_one_goal(target: dict[str, Decimal]) -> None:
    with pytest.raises(ValueError, match="target"):
        settings(policies={"balanced": {"target": target}})
