"""Admission control: so many calls at once, so many that wait, and the rest refused at once."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress


class Full(Exception):
    """Nothing is free, and no more may wait, or it took too long."""


class Slots:
    """Places for calls at once; who waits is served in turn, and frees its place by leaving."""

    def __init__(self, most: int | None, most_waiting: int, wait_s: float) -> None:
        """`most` None: as many as come. `wait_s` is the longest wait."""
        self.most = most
        self.most_waiting = most_waiting
        self.wait_s = wait_s
        self.used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    def take_now(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        if self.most is not None and (self.used >= self.most or self._waiting):
            return False
        self.used += 1
        return True

    async def take(self) -> None:
        """Wait for a place. Raises Full."""
        if len(self._waiting) >= self.most_waiting:
            raise Full
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self.wait_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.free()  # it was handed over while we were leaving
            else:
                with suppress(ValueError):  # whoever freed a place has passed over it already
                    self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise Full from None
            raise

    def free(self) -> None:
        """Give a place back: to whoever waits longest, if anybody does."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.used -= 1
