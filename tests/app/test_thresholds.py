"""Thresholds as the router gets them: numbers as they stand, targets solved by the classifier."""

from pathlib import Path

import pytest

from gateway.app.compose import compose
from gateway.app.thresholds import policy_thresholds
from gateway.routing.classifier import load_scorer
from gateway.settings import ConfigError, Environment, Settings


def settings(**routing: object) -> Settings:
    return Settings.model_validate({"routing": routing})


def test_numbers_stand_and_the_rest_follow_routing_threshold() -> None:
    policies = {"balanced": {}, "cheap": {"threshold": 0.9}}
    assert policy_thresholds(settings(threshold=0.3, policies=policies)) == {
        "balanced": 0.3,
        "cheap": 0.9,
    }


def test_a_target_is_solved_by_the_classifier() -> None:
    policies = {"balanced": {}, "some": {"target": {"large_share": 0.3}}}
    solved = policy_thresholds(settings(policies=policies))["some"]
    assert solved == load_scorer().threshold_for(large_share=0.3)
    assert 0 < solved < 1


def test_they_are_the_router_s_own() -> None:
    gateway = compose(Settings(), Environment.of_process(), {})
    routed = {name: policy.threshold for name, policy in gateway.router.policies.items()}
    assert policy_thresholds(Settings()) == routed


def test_a_classifier_is_read_only_for_a_target(tmp_path: Path) -> None:
    absent = tmp_path / "absent.json.gz"
    numbers = settings(classifier=absent, policies={"balanced": {"threshold": 0.4}})
    assert policy_thresholds(numbers) == {"balanced": 0.4}
    with pytest.raises(ConfigError, match=r"absent\.json\.gz"):
        policy_thresholds(settings(classifier=absent))
