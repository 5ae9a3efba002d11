"""Breakers of all processes move together, and one process at a time tries a deployment again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Literal, Protocol

from gateway.sharing.names import SharedNames
from gateway.sharing.topic import Body, Event, Topic

#: Whoever opened a breaker tries the deployment first; the others do so later, each at its time.
_YIELD_S = (0.5, 1.5)
#: Two processes that open theirs within this have seen the same failure.
_SAME_FAILURE_S = 1.0
#: A process that tries a deployment and ends meanwhile keeps the others from it for no longer.
_TRIED_S = 10.0
_LONGEST_REASON = 300

News = Literal["opened", "tried", "closed"]


class LocalBreaker(Protocol):
    """What is needed of a breaker."""

    openings: int
    reason: str

    def refused_for_s(self) -> float | None:
        """Seconds until the deployment may be called; None where it may be called now."""

    def learn_open(self, for_s: float, openings: int, reason: str) -> None:
        """Leave the deployment alone for so long at least."""

    def learn_tried(self, for_s: float) -> None:
        """Begin no request that tries it for so long."""

    def learn_closed(self) -> None:
        """It works."""


class SharedBreakers:
    """Tells what this process's breakers find out, and lets them learn what others' found out.

    `breaker_of` gives a deployment's breaker by its name here; `keep_s` is the longest time for
    which one can stay open.
    """

    def __init__(
        self,
        names: SharedNames,
        breaker_of: Callable[[str], LocalBreaker | None],
        *,
        keep_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        #: This process, as others see it; whoever has the lower name goes first.
        self.sender = ""
        self.topic = Topic("breakers", keep_s=keep_s, most=10_000, take=self._take, clock=clock)
        self._names = names
        self._breaker_of = breaker_of
        self._clock = clock
        self._opened_s: dict[str, float] = {}
        self._closed_s: dict[str, float] = {}
        self._opened_here: dict[str, tuple[float, Body]] = {}
        self._learnt: dict[str, tuple[str, Body]] = {}

    def found(self, name: str, news: News) -> None:
        """One of this process's breakers has found something out."""
        identity, breaker = self._names.identity(name), self._breaker_of(name)
        if identity is None or breaker is None:
            return
        if news == "opened":
            for_s = round(breaker.refused_for_s() or 0.0, 3)
            reason = breaker.reason[:_LONGEST_REASON]
            body: Body = (news, identity, for_s, breaker.openings, reason)
            self._opened_s[identity] = self._clock()
            self._opened_here[identity] = (self._clock(), body)
            self.topic.tell(body)
            return
        if news == "closed":
            self._closed_s[identity] = self._clock()
            self._opened_here.pop(identity, None)
        self.topic.tell((news, identity))

    def tell_again(self) -> None:
        """Tell what is open here, since Redis may have lost it."""
        for opened_s, body in self._opened_here.values():
            self.topic.tell(body, age_s=self._clock() - opened_s)

    def _take(self, event: Event) -> None:
        news, identity, *more = event.body
        name = self._names.name(identity)
        breaker = None if name is None else self._breaker_of(name)
        if breaker is None:
            return
        at_s = self._clock() - event.age_s
        if news == "opened":
            for_s, openings, reason = more
            self._take_opened(breaker, identity, at_s, event, (for_s, openings, reason))
        elif at_s >= max(self._opened_s.get(identity, at_s), self._closed_s.get(identity, at_s)):
            if news == "tried":
                breaker.learn_tried(_TRIED_S - event.age_s)
            elif news == "closed":
                self._closed_s[identity] = at_s
                self._opened_here.pop(identity, None)
                breaker.learn_closed()

    def _take_opened(
        self,
        breaker: LocalBreaker,
        identity: str,
        at_s: float,
        event: Event,
        opening: tuple[float, int, str],
    ) -> None:
        is_known = self._learnt.get(identity) == (event.sender, event.body)
        if is_known or at_s <= self._closed_s.get(identity, at_s - 1):
            return
        self._learnt[identity] = (event.sender, event.body)
        self._opened_s[identity] = max(at_s, self._opened_s.get(identity, at_s))
        for_s, openings, reason = opening
        left_s = max(0.0, for_s - event.age_s)
        own = self._opened_here.get(identity)
        is_same_failure = own is not None and abs(own[0] - at_s) < _SAME_FAILURE_S
        if not (is_same_failure and self.sender < event.sender):
            self._opened_here.pop(identity, None)
            if is_same_failure:
                left_s = max(left_s, breaker.refused_for_s() or 0.0)
            if left_s:
                left_s += random.uniform(*_YIELD_S)  # noqa: S311 (jitter, not a secret)
        breaker.learn_open(left_s, openings, reason)
