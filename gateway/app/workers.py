"""Several web processes on one socket: started, replaced when they die, ended together."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

#: The exit status of a process that could not begin to serve; uvicorn's too.
START_FAILED = 3
LOOK_EVERY_S = 0.1
#: A process that dies sooner is replaced only after as long.
LEAST_LIFE_S = 1.0

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})
_log = logging.getLogger("gateway.workers")


@dataclass(slots=True)
class _Worker:
    """A process, and the pipe that it takes orders from; the pipe's end is an order too."""

    process: SpawnProcess
    orders: Connection
    started_s: float


class Workers:
    """Runs `count` processes of `serve`, given the socket to accept from and a pipe of orders.

    SIGTERM and SIGINT are passed on as orders, the first to end, a second to hurry. The processes
    don't hear those signals themselves: a terminal or a service manager sends them to all of a
    group, and an order would then look like a second signal.
    """

    def __init__(
        self,
        count: int,
        listener: socket.socket,
        serve: Callable[[socket.socket, Connection], None],
    ) -> None:
        self._count = count
        self._listener = listener
        self._serve = serve
        self._workers: list[_Worker] = []
        self._asked: list[int] = []
        self._is_ending = False
        self._status = 0

    def run(self) -> int:
        """Serve until a signal ends it; the exit status. Call it from the main thread."""
        resource_tracker.ensure_running()  # it would let signals in again below
        with self._listening():
            for _ in range(self._count):
                self._start_one()
            while self._workers:
                wait([worker.process.sentinel for worker in self._workers], LOOK_EVERY_S)
                while self._asked:
                    self._pass_on(self._asked.pop(0))
                for worker in self._workers[:]:
                    if worker.process.exitcode is not None:
                        self._bury(worker)
        return self._status

    @contextmanager
    def _listening(self) -> Iterator[None]:
        signals = (*_ENDING, signal.SIGHUP)
        before = {number: signal.signal(number, self._hear) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked.append(number)

    def _start_one(self) -> None:
        context = multiprocessing.get_context("spawn")
        theirs, ours = context.Pipe(duplex=False)
        process = context.Process(target=self._serve, args=(self._listener, theirs))
        # A new process inherits what is blocked; it lets SIGHUP in once it can reload.
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_ENDING, signal.SIGHUP})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_ENDING, signal.SIGHUP})
        theirs.close()
        self._workers.append(_Worker(process, ours, time.monotonic()))

    def _pass_on(self, number: int) -> None:
        if number in _ENDING:
            self._is_ending = True
            self._listener.close()  # while we hold it, clients connect and wait
        for worker in self._workers:
            with suppress(OSError):  # it has just died
                if number in _ENDING:
                    worker.orders.send(number)
                elif worker.process.pid is not None:
                    os.kill(worker.process.pid, number)

    def _bury(self, worker: _Worker) -> None:
        """Forget a process that has ended, and start another if it should not have."""
        self._workers.remove(worker)
        worker.process.join()
        worker.orders.close()
        if self._is_ending:
            return
        if worker.process.exitcode == START_FAILED:
            self._status = START_FAILED
            self._pass_on(signal.SIGTERM)
            return
        _log.error("a web process ended with status %s: replaced", worker.process.exitcode)
        time.sleep(max(0.0, worker.started_s + LEAST_LIFE_S - time.monotonic()))
        self._start_one()
