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

    def __init__(self, meter: Metered | None = None) -> None:
        """`meter` measures what the machine draws; without one nothing does."""
        self._meter = meter
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


def machines_of(backends: Mapping[str, Backend]) -> dict[str, Machine]:
    """The machine behind each backend, by deployment name."""
    return {
        name: Machine(backend if isinstance(backend, Metered) else None)
        for name, backend in backends.items()
    }


def kept_machines(
    backends: Mapping[str, Backend], earlier: Mapping[str, Backend], machines: Mapping[str, Machine]
) -> dict[str, Machine]:
    """Those of `earlier` backends that go on: calls in flight share them with the next ones."""
    known = {id(earlier[name]): machine for name, machine in machines.items()}
    return {name: known[id(one)] for name, one in backends.items() if id(one) in known}
