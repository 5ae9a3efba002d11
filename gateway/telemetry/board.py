"""Numbers that every web process writes to memory of its own and any of them can read.

With a folder each process keeps its numbers in a file that is mapped into its memory. Files outlive
their processes, so that nothing counted is lost, and a new process goes on with a dead one's file,
so that there are never more files than processes at a time.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

#: Numbers a process; pages that nobody touches take no memory.
CAPACITY = 1 << 17
_NUMBER_BYTES = 8

_log = logging.getLogger("gateway.telemetry")

#: A metric's name and the values of its labels.
Key = tuple[str, tuple[str, ...]]


@dataclass(slots=True, frozen=True)
class Row:
    """The numbers of one series in one process, and whether that process still runs."""

    key: Key
    numbers: Sequence[float]
    is_live: bool


class Board:
    """This process's rows of numbers; `rows` reads those of all processes in the folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """Without a folder the numbers are seen by this process alone. Raises OSError."""
        self._folder = folder
        self._own: dict[Key, memoryview[float]] = {}
        self._lock = threading.Lock()
        self._used = 0
        self._names: int | None = None
        self._number = -1
        size = CAPACITY * _NUMBER_BYTES
        if folder is None:
            self._memory = mmap.mmap(-1, size)
        else:
            self._number, self._claimed = _claim(folder)
            os.ftruncate(self._claimed, size)
            self._memory = mmap.mmap(self._claimed, size)
        self._values = memoryview(self._memory).cast("d")
        if folder is not None:
            self._take_over(folder)

    def row(self, name: str, labels: tuple[str, ...], width: int) -> memoryview[float]:
        """The series' numbers, `width` of them, 0.0 at first; for one thread at a time to change.

        On a full board the numbers of a new series are kept nowhere.
        """
        with self._lock:
            key = (name, labels)
            found = self._own.get(key)
            if found is None:
                found = self._own[key] = self._new_row(key, width)
            return found

    def rows(self) -> Iterator[Row]:
        """Every row of every process. Reads files."""
        with self._lock:
            own = list(self._own.items())
        for key, numbers in own:
            yield Row(key, numbers.tolist(), is_live=True)
        if self._folder is None:
            return
        for path in sorted(self._folder.glob("*.values")):
            if path.stem != str(self._number):
                yield from _rows_of(path)

    def own_rows(self) -> list[tuple[Key, memoryview[float]]]:
        """This process's rows, those of a dead one that it goes on with among them."""
        with self._lock:
            return list(self._own.items())

    def _new_row(self, key: Key, width: int) -> memoryview[float]:
        if self._used + width > CAPACITY:
            _log.error("there are too many metrics: %s is not counted", key)
            return memoryview(bytearray(width * _NUMBER_BYTES)).cast("d")
        if self._names is not None:
            os.write(self._names, orjson.dumps([*key, width]) + b"\n")
        return self._next_row(width)

    def _next_row(self, width: int) -> memoryview[float]:
        start, self._used = self._used, self._used + width
        return self._values[start : self._used]

    def _take_over(self, folder: Path) -> None:
        path = folder / f"{self._number}.names"
        self._names = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        named, whole_bytes = _names_in(path)
        os.ftruncate(self._names, whole_bytes)
        for key, width in named:
            self._own[key] = self._next_row(width)


def _claim(folder: Path) -> tuple[int, int]:
    """The first file that no living process holds: its number and descriptor, locked for good."""
    number = 0
    while True:
        claimed = os.open(folder / f"{number}.values", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claimed)
            number += 1
        else:
            return number, claimed


def _names_in(path: Path) -> tuple[list[tuple[Key, int]], int]:
    """The series and their widths in a names file, and the bytes that these take."""
    # A process that was killed may have left half a line.
    whole, newline, _ = path.read_bytes().rpartition(b"\n")
    named = [orjson.loads(line) for line in whole.splitlines()]
    return [((name, tuple(labels)), width) for name, labels, width in named], len(whole + newline)


def _rows_of(path: Path) -> Iterator[Row]:
    try:
        named, _ = _names_in(path.with_suffix(".names"))
    except FileNotFoundError:  # its process has just begun
        return
    with path.open("rb") as file:
        is_live = _is_locked(file.fileno())
        numbers = memoryview(file.read(sum(width for _, width in named) * _NUMBER_BYTES)).cast("d")
    start = 0
    for key, width in named:
        yield Row(key, numbers[start : start + width].tolist(), is_live)
        start += width


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
