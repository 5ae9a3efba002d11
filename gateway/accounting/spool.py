"""Where rows wait on disk while the database takes none: append-only files, one owner each."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

_log = logging.getLogger("gateway.ledger")

Row = dict[str, Any]

#: A full file is closed and another begun, so that draining gives disk space back on the way.
_SEGMENT_BYTES = 8 * 1024 * 1024


class SpoolFull(OSError):
    """The spool has reached its bound."""


class Spool:
    """Rows in files of one folder, which several processes may share; safe with threads.

    A file is locked by the process that writes or drains it. The lock ends with the process, so
    `adopt` finds just the files of dead ones. One line is one row: what a kill has cut short has no
    line end, and the lines before it count.
    """

    def __init__(self, folder: Path, limit_bytes: int, *, makes_parents: bool = False) -> None:
        """`limit_bytes` bounds the whole folder. Nothing is made before the first `append`.

        `makes_parents` also makes the folders above; else a missing one fails the append.
        """
        self._folder = folder
        self._makes_parents = makes_parents
        self._limit_bytes = limit_bytes
        self._segments: list[_Segment] = []  # the oldest first; only the last is written to
        self._lock = threading.Lock()
        self._next: list[Row] = []
        self.unreadable = 0

    @property
    def rows(self) -> int:
        """Rows that wait in this process's files and in the ones that it has adopted."""
        return sum(segment.left for segment in tuple(self._segments))

    @property
    def size_bytes(self) -> int:
        """The size of the same files."""
        return sum(segment.size_bytes for segment in tuple(self._segments))

    @property
    def oldest_s(self) -> float | None:
        """When the oldest file was begun, in seconds since 1970; None without files."""
        return min((segment.begun_s for segment in tuple(self._segments)), default=None)

    def append(self, rows: Sequence[Row], *, sync: bool = False) -> None:
        """Add rows, all or none; with `sync` they survive a power cut. Raises OSError."""
        data = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        with self._lock:
            if self._folder_bytes() + len(data) > self._limit_bytes:
                raise SpoolFull(f"the spool holds {self._limit_bytes >> 20} MB already")
            if not self._segments or self._segments[-1].closed:
                self._segments.append(self._new_segment(sync=sync))
            self._segments[-1].append(data, len(rows), sync=sync)

    def _new_segment(self, *, sync: bool) -> _Segment:
        if self._makes_parents:
            self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _Segment.new(self._folder, sync=sync)

    def adopt(self) -> None:
        """Take over the files of processes that are gone."""
        with self._lock:
            own = {segment.path for segment in self._segments}
            for path in sorted(self._folder.glob("*.rows")):
                segment = None if path in own else _Segment.adopted(path)
                if segment is not None:
                    # Behind the one that is being drained, and before the one that is written to.
                    self._segments.insert(min(1, len(self._segments)), segment)
                    _log.warning("taking over %d ledger rows of an earlier process", segment.left)

    def next_rows(self, most: int) -> Sequence[Row]:
        """The oldest rows, the same ones until they are `stored`; none when the spool is empty."""
        with self._lock:
            while not self._next and self._segments:
                self._segments[0].closed = True
                self._next, damaged = self._segments[0].read(most)
                if damaged:
                    self.unreadable += damaged
                    _log.error("the ledger's spool is damaged: %d rows are lost", damaged)
                if not self._next:
                    self._remove_first()
            return self._next

    def stored(self) -> None:
        """The rows of `next_rows` are in the database."""
        with self._lock:
            if self._segments and self._next:
                self._segments[0].left -= len(self._next)
                self._next = []
                if not self._segments[0].left:
                    self._remove_first()

    def close(self) -> None:
        """Let go of the files; whoever adopts them goes on."""
        with self._lock:
            for segment in self._segments:
                segment.close()
            self._segments = []
            self._next = []

    def _remove_first(self) -> None:
        segment = self._segments.pop(0)
        segment.path.unlink(missing_ok=True)
        segment.close()
        with suppress(OSError):  # others are in it
            self._folder.rmdir()

    def _folder_bytes(self) -> int:
        try:
            return sum(entry.stat().st_size for entry in os.scandir(self._folder))
        except FileNotFoundError:  # there is no folder yet, or a file has just been drained
            return self.size_bytes


class _Segment:
    """One file, locked for as long as it is open."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.begun_s = int(path.name.partition("-")[0]) / 1e9
        self.closed = False
        self.left = 0
        self.size_bytes = 0
        self._descriptor = descriptor
        self._reader: BinaryIO | None = None

    @classmethod
    def new(cls, folder: Path, *, sync: bool) -> _Segment:
        """An empty file that nobody else can adopt."""
        folder.mkdir(mode=0o700, exist_ok=True)
        while True:
            path = folder / f"{time.time_ns()}-{uuid.uuid4().hex[:12]}.rows"
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                break
            os.close(descriptor)  # another process saw it before the lock, and cleared it away
        if sync:
            _sync_folder(folder)
            _sync_folder(folder.parent)
        return cls(path, descriptor)

    @classmethod
    def adopted(cls, path: Path) -> _Segment | None:
        """The file of a dead process; None while its owner lives, or once it is drained."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment = cls(path, descriptor)
        except (OSError, ValueError):  # a living owner, or no file of ours
            os.close(descriptor)
            return None
        segment.closed = True
        segment.left = sum(line.endswith(b"\n") for line in segment._lines())
        segment._lines().seek(0)
        segment.size_bytes = os.fstat(descriptor).st_size
        return segment

    def append(self, data: bytes, rows: int, *, sync: bool) -> None:
        """Write at the end, or leave the file as it was."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            if sync:
                os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.size_bytes)
            raise
        self.left += rows
        self.size_bytes += len(data)
        self.closed = self.size_bytes >= _SEGMENT_BYTES

    def read(self, most: int) -> tuple[list[Row], int]:
        """The next rows, and how many damaged lines were left out."""
        reader = self._lines()
        rows: list[Row] = []
        damaged = 0
        while len(rows) < most and (line := reader.readline()).endswith(b"\n"):
            row = _parsed(line)
            if row is None:
                damaged += 1
            else:
                rows.append(row)
        self.left -= damaged
        return rows, damaged

    def _lines(self) -> BinaryIO:
        if self._reader is None:
            self._reader = os.fdopen(os.dup(self._descriptor), "rb")
            self._reader.seek(0)
        return self._reader

    def close(self) -> None:
        """Let go of the file and its lock."""
        if self._reader is not None:
            self._reader.close()
        os.close(self._descriptor)


def _parsed(line: bytes) -> Row | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
