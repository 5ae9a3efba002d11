"""Looks at a counter now and then, in a thread; says what was drawn in a time between."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Protocol

from gateway.core.energy import SECONDS_AN_HOUR, Reading

#: Between two looks, in seconds: a look takes some microseconds, /proc/stat counts hundredths.
LOOK_EVERY_S = 0.25
#: So many looks are remembered, ten minutes.
_REMEMBERED = 2400

_log = logging.getLogger("gateway.power")


class Counter(Protocol):
    """Something that can be read; its name is that of the source in the ledger."""

    @property
    def name(self) -> str:
        """`rapl` or `nvml`."""

    def watts(self) -> float | None:
        """The mean since the last look; None where it tells nothing. Raises OSError, ValueError."""


class PowerMeter:
    """Watts from a counter; its methods are for any thread, and none but `look` reads anything."""

    def __init__(self, counter: Counter) -> None:
        """Looks begin with `start`."""
        self._counter = counter
        self._looked_s = time.monotonic()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        #: From when, until when, and the watts meanwhile.
        self._seen: deque[tuple[float, float, float]] = deque(maxlen=_REMEMBERED)

    def start(self) -> None:
        """Begin to look, in a thread."""
        threading.Thread(target=self._run, name="power", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def reading(self, compute_s: float, elapsed_s: float) -> Reading | None:
        """What an answer took that began so long ago and had so much of the machine's time.

        None until the counter has told something.
        """
        watts = self._watts_since(time.monotonic() - elapsed_s)
        if watts is None:
            return None
        return Reading(watts * compute_s / SECONDS_AN_HOUR, self._counter.name)

    def look(self) -> None:
        """Read the counter. Raises OSError or ValueError."""
        before_s, self._looked_s = self._looked_s, time.monotonic()
        watts = self._counter.watts()
        if watts is not None:
            with self._lock:
                self._seen.append((before_s, self._looked_s, watts))

    def _watts_since(self, since_s: float) -> float | None:
        """The mean since then, or the newest of before."""
        joules = seconds = 0.0
        with self._lock:
            for began_s, ended_s, watts in reversed(self._seen):
                if ended_s <= since_s:
                    break
                part_s = ended_s - max(began_s, since_s)
                joules, seconds = joules + watts * part_s, seconds + part_s
            if seconds:
                return joules / seconds
            return self._seen[-1][2] if self._seen else None

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            try:
                self.look()
            except (OSError, ValueError) as error:
                _log.warning("%s can't be read any more: %s", self._counter.name, error)
                with self._lock:
                    self._seen.clear()
                return
