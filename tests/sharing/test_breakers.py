"""Breakers of several processes, in step through a bus that a test hands events over on."""

import itertools

import orjson
import pytest

from gateway.core.errors import UpstreamError
from gateway.resilience.breaker import BreakerSettings
from gateway.resilience.health import Capacity, DeploymentHealth, Health
from gateway.sharing.breakers import SharedBreakers
from gateway.sharing.names import Described, SharedNames

DOWN = UpstreamError("down", status=503)
SETTINGS = BreakerSettings(failures=3, cooldown_s=10, longest_cooldown_s=40)
HERE = Described("gpt", "openai", "gpt-4o", "https://a.example/v1", "key")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Replica:
    """One process: a breaker, and what it tells."""

    def __init__(self, sender: str, clock: Clock, described: Described = HERE) -> None:
        health = Health()
        self.one: DeploymentHealth = health.of(SETTINGS, {"gpt": Capacity()})["gpt"]
        self.breaker = self.one.breaker
        self.breaker._clock = clock
        names = SharedNames([described])
        self.shared = SharedBreakers(names, health.breaker, keep_s=200, clock=clock)
        self.shared.sender = sender
        health.watcher = self.shared.found

    def fail(self, times: int = 3) -> None:
        for _ in range(times):
            self.breaker.failed(self.breaker.begin(), DOWN)

    @property
    def rests_for_s(self) -> float:
        return self.breaker.refused_for_s() or 0.0


class Replicas:
    """Hands on what each tells, through JSON, and keeps it for those that start later."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.names = itertools.count()
        self.all: list[Replica] = []
        self.kept: list[tuple[str, bytes]] = []

    def start(self, described: Described = HERE) -> Replica:
        replica = Replica(f"{next(self.names):04}", self.clock, described)
        for sender, message in self.kept:
            self._hand(replica, sender, message)
        self.all.append(replica)
        return replica

    def exchange(self) -> None:
        for replica in self.all:
            events = [[at_s, *body] for at_s, body in replica.shared.topic.next_batch()]
            if events:
                self.kept.append((replica.shared.sender, orjson.dumps(events)))
                for other in self.all:
                    self._hand(other, *self.kept[-1])

    def _hand(self, to: Replica, sender: str, message: bytes) -> None:
        to.shared.topic.read("1-0", message, sender, to.shared.sender, self.clock.now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def replicas(clock: Clock) -> Replicas:
    return Replicas(clock)


def test_what_one_opens_rests_for_all_and_the_opener_tries_it_first(
    replicas: Replicas, clock: Clock
) -> None:
    one, two = replicas.start(), replicas.start()
    one.fail()
    replicas.exchange()
    assert 10 <= one.rests_for_s <= 12
    assert one.rests_for_s + 0.5 <= two.rests_for_s <= one.rests_for_s + 1.5
    assert two.breaker.reason == "down"


def test_while_one_tries_it_the_others_wait_and_its_success_closes_all(
    replicas: Replicas, clock: Clock
) -> None:
    one, two, three = (replicas.start() for _ in range(3))
    one.fail()
    replicas.exchange()
    clock.now += 12
    probe = one.breaker.begin()
    replicas.exchange()
    clock.now += 2
    assert two.breaker.state == three.breaker.state == "half_open"
    assert two.rests_for_s > 0 < three.rests_for_s
    one.breaker.succeeded(probe)
    replicas.exchange()
    assert {replica.breaker.state for replica in replicas.all} == {"closed"}


def test_a_probe_that_fails_opens_all_for_twice_as_long(replicas: Replicas, clock: Clock) -> None:
    one, two = replicas.start(), replicas.start()
    one.fail()
    replicas.exchange()
    clock.now += 12
    one.fail(1)
    replicas.exchange()
    assert 20 <= one.rests_for_s <= 24
    assert two.rests_for_s > one.rests_for_s
    clock.now += 26
    two.fail(1)
    replicas.exchange()
    assert 40 <= two.rests_for_s < one.rests_for_s


def test_whoever_tries_it_and_dies_keeps_the_others_for_a_while_alone(
    replicas: Replicas, clock: Clock
) -> None:
    one, two = replicas.start(), replicas.start()
    one.fail()
    replicas.exchange()
    clock.now += 12
    one.breaker.begin()
    replicas.exchange()
    clock.now += 11
    assert two.rests_for_s == 0


@pytest.mark.parametrize("_", range(20))
def test_of_those_that_see_the_same_failure_one_goes_first(
    replicas: Replicas, clock: Clock, _: int
) -> None:
    several = [replicas.start() for _ in range(4)]
    for replica in several:
        replica.fail()
        clock.now += 0.05
    replicas.exchange()
    first, *others = sorted(replica.rests_for_s for replica in several)
    assert first == several[0].rests_for_s
    assert all(wait_s >= first + 0.4 for wait_s in others)


def test_a_replica_that_starts_later_knows_what_rests_and_what_works_again(
    replicas: Replicas, clock: Clock
) -> None:
    one = replicas.start()
    one.fail()
    replicas.exchange()
    clock.now += 4
    assert one.rests_for_s < replicas.start().rests_for_s < 10
    clock.now += 8
    one.breaker.succeeded(one.breaker.begin())
    replicas.exchange()
    assert replicas.start().breaker.state == "closed"


def test_what_is_read_again_changes_nothing(replicas: Replicas, clock: Clock) -> None:
    one, two = replicas.start(), replicas.start()
    one.fail()
    replicas.exchange()
    before = two.rests_for_s
    one.shared.tell_again()
    replicas.exchange()
    assert two.rests_for_s == before
    clock.now += 14
    probe = two.breaker.begin()
    one.shared.tell_again()
    replicas.exchange()
    two.breaker.succeeded(probe)
    assert two.breaker.state == "closed"


def test_news_that_are_late_undo_nothing_newer(replicas: Replicas, clock: Clock) -> None:
    one, two = replicas.start(), replicas.start()
    one.fail()
    replicas.exchange()
    clock.now += 14
    one.breaker.succeeded(one.breaker.begin())  # told too late
    clock.now += 1
    two.fail(1)
    replicas.exchange()
    assert one.breaker.state == two.breaker.state == "open"


@pytest.mark.parametrize(
    "other",
    [
        Described("gpt", "openai", "gpt-4o", "https://b.example/v1", "key"),
        Described("gpt", "openai", "gpt-4o-mini", "https://a.example/v1", "key"),
        Described("gpt", "openai", "gpt-4o", "https://a.example/v1", "another key"),
        Described("other", "openai", "gpt-4o", "https://a.example/v1", "key"),
    ],
    ids=["upstream", "model", "account", "name"],
)
def test_another_deployment_of_that_name_isnt_meant(replicas: Replicas, other: Described) -> None:
    one, two = replicas.start(), replicas.start(other)
    one.fail()
    replicas.exchange()
    assert two.breaker.state == "closed"
    assert "key" not in repr(replicas.kept)
