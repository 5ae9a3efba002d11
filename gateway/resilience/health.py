"""What this process knows of each deployment: whether it works, how busy and how quick it is."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from gateway.core.errors import (
    BackendError,
    DeploymentResting,
    Overloaded,
    StreamInterrupted,
    UpstreamUnavailable,
)
from gateway.core.forwarding import ForwardedRequest
from gateway.core.request import ChatRequest
from gateway.resilience.admission import Full, Slots
from gateway.resilience.breaker import Breaker, BreakerNews, BreakerSettings, BreakerState

#: A refused client may come again after this; the queue moves faster than that.
RETRY_BUSY_AFTER_S = 1.0
#: First items that are remembered, and how many are needed to say what is usual.
_REMEMBERED, _LEAST_KNOWN = 200, 20


@dataclass(slots=True, frozen=True)
class Capacity:
    """Calls at once (None: as many as come), calls that wait for one to end, and how long."""

    most: int | None = None
    most_waiting: int = 0
    wait_s: float = 10.0


class DeploymentHealth:
    """One deployment's breaker, places, and waits for a first item."""

    def __init__(
        self,
        name: str,
        breaker: BreakerSettings,
        capacity: Capacity,
        tell: Callable[[BreakerNews], None] | None = None,
    ) -> None:
        self.name = name
        self.breaker = Breaker(breaker, tell=tell)
        self.slots = Slots(capacity.most, capacity.most_waiting, capacity.wait_s)
        self._newest: deque[float] = deque(maxlen=_REMEMBERED)
        self._sorted: list[float] = []

    def settings(self, breaker: BreakerSettings, capacity: Capacity) -> None:
        """Take on other settings, and keep what is known."""
        self.breaker.settings = breaker
        slots = self.slots
        slots.most, slots.most_waiting = capacity.most, capacity.most_waiting
        slots.wait_s = capacity.wait_s

    async def enter(self) -> int:
        """Begin a call; end it with `leave`. What is returned goes to the breaker's verdict.

        Raises DeploymentResting while the breaker is open, Overloaded where no place gets free.
        """
        self._check()
        if not self.slots.take_now():
            try:
                await self.slots.take()
            except Full:
                message = f"The deployment {self.name} has as many requests as it may."
                raise Overloaded(message, status=503, retry_after_s=RETRY_BUSY_AFTER_S) from None
            try:
                self._check()
            except DeploymentResting:
                self.slots.free()
                raise
        return self.breaker.begin()

    def leave(self) -> None:
        """A call has ended."""
        self.slots.free()

    def first_item_after(self, seconds: float) -> None:
        """Note how long an answer's first item took."""
        newest = self._newest
        if len(newest) == _REMEMBERED:
            del self._sorted[bisect.bisect_left(self._sorted, newest[0])]
        newest.append(seconds)
        bisect.insort(self._sorted, seconds)

    def usual_wait_s(self, quantile: float) -> float | None:
        """The quantile of the newest waits for a first item; None of too few."""
        known = self._sorted
        if len(known) < _LEAST_KNOWN:
            return None
        return known[min(len(known) - 1, int(quantile * len(known)))]

    def _check(self) -> None:
        wait_s = self.breaker.refused_for_s()
        if wait_s is not None:
            raise DeploymentResting(
                f"The deployment {self.name} is not called for a while, since it failed: "
                f"{self.breaker.reason}",
                status=503,
                retry_after_s=wait_s,
            )


class Health:
    """The health of every deployment, by name; it outlives a change of the configuration."""

    def __init__(self, known: Iterable[DeploymentHealth] = ()) -> None:
        self._known = {one.name: one for one in known}
        #: Told, with the deployment's name, what this process finds out of it.
        self.watcher: Callable[[str, BreakerNews], None] | None = None

    def of(
        self, breaker: BreakerSettings, capacities: Mapping[str, Capacity]
    ) -> Mapping[str, DeploymentHealth]:
        """The health of these deployments: as it is known, or new with these settings."""
        new = {
            name: DeploymentHealth(name, breaker, capacity, partial(self._found, name))
            for name, capacity in capacities.items()
            if name not in self._known
        }
        self._known = {**self._known, **new}  # another thread may be reading it
        return {name: self._known[name] for name in capacities}

    def configure(
        self, breaker: BreakerSettings, capacities: Mapping[str, Capacity]
    ) -> Mapping[str, DeploymentHealth]:
        """The health of these deployments with these settings; what is known of them is kept."""
        known = self.of(breaker, capacities)
        for name, capacity in capacities.items():
            known[name].settings(breaker, capacity)
        return known

    def breaker(self, name: str) -> Breaker | None:
        """A deployment's breaker; None of one that isn't known."""
        found = self._known.get(name)
        return None if found is None else found.breaker

    def breaker_states(self) -> dict[str, BreakerState]:
        """By deployment: closed, half_open or open."""
        return {name: one.breaker.state for name, one in self._known.items()}

    def calls(self) -> dict[str, int]:
        """By deployment: calls in flight."""
        return {name: one.slots.used for name, one in self._known.items()}

    def queues(self) -> dict[str, int]:
        """By deployment: calls that wait for a place."""
        return {name: one.slots.waiting for name, one in self._known.items()}

    def _found(self, name: str, news: BreakerNews) -> None:
        if self.watcher is not None:
            self.watcher(name, news)


def is_telling(request: ChatRequest | ForwardedRequest, error: BackendError) -> bool:
    """Whether a failure says something of the deployment as a model to chat with.

    That an upstream has no such file, or no images, doesn't; that it can't be reached does.
    """
    if isinstance(request, ChatRequest):
        return True
    return isinstance(error, UpstreamUnavailable | StreamInterrupted)
