"""When a second attempt is begun, and how often at most."""

from gateway.resilience.breaker import BreakerSettings
from gateway.resilience.health import Capacity, DeploymentHealth
from gateway.resilience.hedging import Hedging, HedgingSettings


def health(*waits_s: float) -> DeploymentHealth:
    one = DeploymentHealth("gpt", BreakerSettings(), Capacity())
    for wait_s in waits_s:
        one.first_item_after(wait_s)
    return one


def test_not_before_enough_is_known() -> None:
    assert Hedging(HedgingSettings()).wait_s(health(1, 2, 3)) is None


def test_after_the_usual_wait_and_never_too_early() -> None:
    hedging = Hedging(HedgingSettings(quantile=0.9, least_wait_s=0.5))
    assert hedging.wait_s(health(*[1.0] * 90, *[3.0] * 10)) == 3.0
    assert hedging.wait_s(health(*[0.01] * 100)) == 0.5


def test_the_share_is_kept() -> None:
    hedging = Hedging(HedgingSettings(most_share=0.1))
    slow = health(*[1.0] * 50)
    hedged = 0
    for _ in range(100):
        hedging.wait_s(slow)
        hedged += hedging.allows()
    assert hedged == 10
