"""One kind of event: what waits to be told, what takes others' events, how much Redis keeps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

#: Events of this process that wait for Redis; the oldest are forgotten first.
MOST_WAITING = 10_000
#: Events a message.
_BATCH = 200

#: A kind's own words, as JSON has them.
Body = Sequence[Any]


@dataclass(slots=True, frozen=True)
class Event:
    """Something that a process has found out: its body, who told it, and how long ago it was."""

    body: Body
    sender: str
    age_s: float


class Topic:
    """The events of one kind. Those that are older than `keep_s` are of no use to anybody."""

    def __init__(
        self,
        name: str,
        *,
        keep_s: float,
        most: int,
        take: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most` events are kept in Redis; `take` is called with every other process's."""
        self.name = name
        self.keep_s = keep_s
        self.take = take
        self.wake: Callable[[], None] | None = None
        self.most = most
        self._clock = clock
        self._waiting: deque[tuple[float, Body]] = deque(maxlen=MOST_WAITING)
        self._kept: deque[tuple[str, int]] = deque()
        self._kept_events = 0

    def tell(self, body: Body, age_s: float = 0.0) -> None:
        """Tell the others, soon; never blocks."""
        self._waiting.append((self._clock() - age_s, body))
        if self.wake is not None:
            self.wake()

    @property
    def has_news(self) -> bool:
        """Whether events wait to be told."""
        return bool(self._waiting)

    def next_batch(self) -> list[tuple[float, Body]]:
        """The oldest events that wait, taken out: when each was, on this process's clock."""
        return [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]

    def put_back(self, batch: list[tuple[float, Body]]) -> None:
        """They could not be told."""
        self._waiting = deque([*batch, *self._waiting], maxlen=MOST_WAITING)

    def read(self, entry_id: str, message: bytes, sender: str, own: str, now_s: float) -> None:
        """Take a message out of Redis; `now_s` and the times in it are on Redis's clock.

        Raises ValueError or TypeError for what no gateway of this version has written.
        """
        events: list[list[Any]] = orjson.loads(message)
        self._count(entry_id, len(events))
        if sender == own:
            return
        for at_s, *body in events:
            age_s = max(0.0, now_s - at_s)
            if age_s <= self.keep_s:
                self.take(Event(body, sender, age_s))

    def begin_again(self) -> None:
        """Everything that Redis keeps is about to be read."""
        self._kept.clear()
        self._kept_events = 0

    def oldest_kept(self, now_s: float) -> str:
        """The id of the oldest message that Redis is to keep, by age and by number."""
        by_age = f"{int((now_s - self.keep_s) * 1000)}-0"
        by_number = self._kept[0][0] if self._kept else "0-0"
        return max(by_age, by_number, key=_order)

    def _count(self, entry_id: str, events: int) -> None:
        self._kept.append((entry_id, events))
        self._kept_events += events
        while self._kept_events > self.most and len(self._kept) > 1:
            self._kept_events -= self._kept.popleft()[1]


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
