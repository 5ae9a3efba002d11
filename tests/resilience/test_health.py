"""What is known of deployments: whether they may be called, and how long they usually take."""

import pytest

from gateway.core.errors import DeploymentResting, Overloaded, UpstreamError
from gateway.resilience.breaker import BreakerSettings
from gateway.resilience.health import Capacity, DeploymentHealth, Health


def health(capacity: Capacity = Capacity()) -> DeploymentHealth:  # noqa: B008 (a value)
    return DeploymentHealth("gpt", BreakerSettings(failures=1), capacity)


async def test_a_resting_deployment_says_for_how_long_and_why() -> None:
    one = health()
    await one.enter()
    one.breaker.failed(0, UpstreamError("The disk is on fire.", status=500))
    one.leave()
    with pytest.raises(DeploymentResting, match=r"gpt .* The disk is on fire") as caught:
        await one.enter()
    assert caught.value.status == 503
    assert 0 < (caught.value.retry_after_s or 0) <= 6
    assert one.slots.used == 0


async def test_a_full_one_says_when_to_come_again() -> None:
    one = health(Capacity(most=1))
    await one.enter()
    with pytest.raises(Overloaded) as caught:
        await one.enter()
    assert caught.value.retry_after_s == 1
    one.leave()
    await one.enter()


def test_the_usual_wait_is_that_of_the_newest_answers() -> None:
    one = health()
    for _ in range(19):
        one.first_item_after(9)
    assert one.usual_wait_s(0.95) is None
    for hundredths in range(200):
        one.first_item_after(hundredths / 100)
    assert one.usual_wait_s(0.95) == 1.9
    assert one.usual_wait_s(0.5) == 1.0


def test_what_is_known_outlives_other_settings() -> None:
    known = Health()
    first = known.configure(BreakerSettings(), {"gpt": Capacity(most=1)})["gpt"]
    first.slots.take_now()
    again = known.configure(
        BreakerSettings(failures=9), {"gpt": Capacity(most=5), "new": Capacity()}
    )
    assert again["gpt"] is first
    assert (first.slots.most, first.slots.used, first.breaker.settings.failures) == (5, 1, 9)
    assert known.calls() == {"gpt": 1, "new": 0}
    assert known.breaker_states() == {"gpt": "closed", "new": "closed"}
    assert known.queues() == {"gpt": 0, "new": 0}


def test_asking_for_what_is_known_changes_no_limit() -> None:
    known = Health()
    first = known.configure(BreakerSettings(), {"gpt": Capacity(most=1)})["gpt"]
    again = known.of(BreakerSettings(failures=9), {"gpt": Capacity(most=5), "new": Capacity()})
    assert again["gpt"] is first
    assert (first.slots.most, first.breaker.settings.failures) == (1, 5)
    assert known.calls() == {"gpt": 0, "new": 0}
