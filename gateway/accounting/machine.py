"""The machine behind a deployment: its time, split among the calls that it works on together."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gateway.core.energy import Reading
from gateway.core.interfaces import Backend, Metered


class Machine:
    """Each moment is shared by the calls that are in progress; a moment without any is nobody's.

    What calls are given of a time never adds up to more than that time. For one thread.
    """

    def __init__(self, backend: object = None) -> None:
        """`backend` works on it; one that is Metered measures what it draws."""
        self.backend = backend
        self._meter = backend if isinstance(backend, Metered) else None
        self._calls = 0
        self._at_s = 0.0
        self._each_s = 0.0

    def begin(self) -> float:
        """A call begins; a mark for `since`. To be followed by one `end`."""
        mark = self._each()
        self._calls += 1
        return mark

    def since(self, mark: float) -> float:
        """The part of a call in progress, in seconds."""
        return self._each() - mark

    def end(self) -> None:
        """A call has ended."""
        self._each()
        self._calls -= 1

    def reading(self, compute_s: float, elapsed_s: float) -> Reading | None:
        """What a call has drawn that began so long ago and had so much of the time."""
        return None if self._meter is None else self._meter.reading(compute_s, elapsed_s)

    def _each(self) -> float:
        """What a call would have been given that had always been in progress."""
        now_s = time.perf_counter()
        if self._calls:
            self._each_s += (now_s - self._at_s) / self._calls
        self._at_s = now_s
        return self._each_s


def machines_of(
    backends: Mapping[str, Backend], earlier: Mapping[str, Machine]
) -> dict[str, Machine]:
    """The machine behind each backend, by deployment name.

    A backend that had one `earlier`, under any name, keeps it with the calls that are in progress.
    """
    known = {id(one.backend): one for one in earlier.values()}
    return {name: known.get(id(one)) or Machine(one) for name, one in backends.items()}
