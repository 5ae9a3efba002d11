"""The engine's process: `python -m gateway.backends.local.worker`, started by `process`.

It speaks one JSON object a line on a Unix-domain socket.
In: `submit` (id, messages, prompt, sampling, cascade, adapter), `cancel` (id), `status` (id).
Out: `status` (on connection, whenever it changes, and when asked), `text` and `choice_end` of each
choice, and at last one of `end`, `low_confidence` and `error`.
The encoder's process (`encoder_worker`) speaks the same with other fields.
It ends when its standard input closes, that is when its parent ends, however that comes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import orjson

from gateway.backends.local.process import UNLOADED
from gateway.backends.local.refused import ModelRefused
from gateway.backends.local.submission import LAST_EVENTS, Event, Submission
from gateway.core.cascade import Cascade
from gateway.power.meter import PowerMeter
from gateway.power.rapl import POWERCAP, Rapl

_log = logging.getLogger(__name__)

#: The longest line, in bytes; the API refuses larger bodies long before.
LINE_LIMIT = 256 * 1024 * 1024
#: Where Linux says how much of the processors a container may use.
CGROUP = Path("/sys/fs/cgroup")


Emit = Callable[[Event], None]


class Job(Protocol):
    """What an engine works on until it is cancelled."""

    @property
    def cancelled(self) -> threading.Event:
        """Set once nobody waits for it any more."""


class Served(Protocol):
    """An engine that takes jobs and tells what comes of them; safe to call from any thread."""

    def submit(self, job: Any) -> None:
        """Take a job, or refuse it by an `error` event."""

    def load(self) -> dict[str, int]:
        """How many jobs are `active` and `waiting`."""


#: The engine with its model, and the status that says so. Takes seconds.
Load = Callable[[argparse.Namespace], tuple[Served, Event]]
#: A `submit` as a job.
Read = Callable[[Event, Emit], Job]


class Worker:
    """Connections on one side, the engine's threads on the other."""

    def __init__(self, options: argparse.Namespace, load: Load, read: Read) -> None:
        self._options = options
        self._load_engine = load
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._engine: Served | None = None
        self._status: Event = {"state": "loading"}
        self._writers: set[asyncio.StreamWriter] = set()
        self._used_s = self._loop.time()
        counter = Rapl.found(options.powercap)
        self._power = None if counter is None else PowerMeter(counter)

    async def serve(self) -> None:
        """Accept connections at once; load the model meanwhile."""
        listening: dict[str, Any] = {"path": self._options.socket}
        if self._options.listener is not None:
            listening = {"sock": socket.socket(fileno=self._options.listener)}
        server = await asyncio.start_unix_server(self._converse, limit=LINE_LIMIT, **listening)
        threading.Thread(target=self._load, name="load", daemon=True).start()
        if self._power is not None:
            self._power.start()
        async with server:
            if self._options.idle_unload_s is None:
                await server.serve_forever()
            await self._until_idle(self._options.idle_unload_s)
            self._announce(self._engine, {"state": "unloaded"})
            for writer in list(self._writers):
                with contextlib.suppress(OSError):
                    await writer.drain()
        os._exit(UNLOADED)

    async def _until_idle(self, idle_s: float) -> None:
        """Wait until nobody has asked for anything for so long."""
        while self._loop.time() - self._used_s < idle_s:
            await asyncio.sleep(min(1.0, idle_s / 4))
            if self._engine is None or any(self._engine.load().values()):
                self._used_s = self._loop.time()

    def _load(self) -> None:
        try:
            engine, status = self._load_engine(self._options)
        except Exception as error:
            kind = "" if isinstance(error, ModelRefused) else f"{type(error).__name__}: "
            reason = f"{kind}{error}".splitlines()[0]
            self._loop.call_soon_threadsafe(
                self._announce, None, {"state": "failed", "reason": reason}
            )
        else:
            self._loop.call_soon_threadsafe(self._announce, engine, status)

    def _announce(self, engine: Served | None, status: Event) -> None:
        self._engine = engine
        self._status = status
        for writer in self._writers:
            _write(writer, {"type": "status", **status})

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        submissions: dict[int, Job] = {}
        self._writers.add(writer)
        _write(writer, {"type": "status", **self._status})
        try:
            while line := await reader.readline():
                self._handle(orjson.loads(line), submissions, writer)
        except (OSError, ValueError):
            _log.exception("a connection to the engine broke")
        finally:
            self._writers.discard(writer)
            for submission in submissions.values():
                submission.cancelled.set()
            writer.close()

    def _handle(
        self, command: Event, submissions: dict[int, Job], writer: asyncio.StreamWriter
    ) -> None:
        number: int = command["id"]
        if command["type"] == "cancel":
            cancelled = submissions.pop(number, None)
            if cancelled is not None:
                cancelled.cancelled.set()
        elif command["type"] == "status":
            load = self._engine.load() if self._engine is not None else {}
            _write(writer, {"type": "status", "id": number, **self._status, **load})
        elif self._engine is None:
            error = {"code": "not_ready", "message": "The local model is not loaded yet."}
            _write(writer, {"type": "error", "id": number, **error})
        else:
            self._submit(self._engine, command, submissions, writer)

    def _submit(
        self,
        engine: Served,
        command: Event,
        submissions: dict[int, Job],
        writer: asyncio.StreamWriter,
    ) -> None:
        number: int = command["id"]
        self._used_s = self._loop.time()
        began_s = time.monotonic()

        def deliver(event: Event) -> None:
            if number in submissions:
                _write(writer, {"id": number, **event, **self._read_power(event, began_s)})
                if event["type"] in LAST_EVENTS:
                    del submissions[number]

        def emit(event: Event) -> None:
            # Not while the process ends: the loop is closed by then, and nobody listens.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(deliver, event)

        submissions[number] = self._read(command, emit)
        engine.submit(submissions[number])

    def _read_power(self, event: Event, began_s: float) -> Event:
        """What the machine's meter tells of a job that has ended."""
        if self._power is None or "compute_s" not in event:
            return {}
        elapsed_s = time.monotonic() - began_s
        reading = self._power.reading(event["compute_s"], elapsed_s)
        return {} if reading is None else {"reading": asdict(reading)}


#: What a submission has under the same name.
_SUBMITTED = ("messages", "prompt", "caller", "n", "tools", "form", "adapter")


def _submission(command: Event, emit: Emit) -> Submission:
    asked = command["cascade"]
    cascade = Cascade(**asked) if asked is not None else None
    fields = {name: command[name] for name in _SUBMITTED}
    return Submission(asked=command["sampling"], emit=emit, cascade=cascade, **fields)


def _loaded(options: argparse.Namespace) -> tuple[Served, Event]:
    import torch

    from gateway.backends.local.engine import Engine
    from gateway.backends.local.load import load

    torch.set_num_threads(options.threads or usable_cores())
    adapters = {name: Path(folder) for name, folder in options.adapter}
    model = load(Path(options.folder), options.dtype, adapters)
    engine = Engine(
        model,
        max_concurrent=options.max_concurrent,
        max_queue=options.max_queue,
        kv_cache_mb=options.kv_cache_mb,
        shares_prompts=options.share_prompts,
    )
    return engine, {
        "state": "ready",
        "context_window": engine.context_window,
        "fingerprint": model.fingerprint,
        "dialect": model.tokenizer.dialect.name,
        "pid": os.getpid(),
    }


def usable_cores(cgroup: Path = CGROUP) -> int:
    """The processor cores that this process may run on, as many as its part of them comes to."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """The cores' time that a container may have (`docker run --cpus`): version 2, then 1."""
    old = cgroup / "cpu"
    for files in ([cgroup / "cpu.max"], [old / "cpu.cfs_quota_us", old / "cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, " ".join(one.read_text() for one in files).split())
            if quota > 0:
                return quota / period
    return math.inf


def _write(writer: asyncio.StreamWriter, event: Event) -> None:
    if not writer.is_closing():
        writer.write(orjson.dumps(event) + b"\n")


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)


def main(load: Load = _loaded, read: Read = _submission) -> None:
    """Read the options, then serve until the parent ends."""
    parser = argparse.ArgumentParser(prog="slm-gateway engine")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--listener", type=int, help="the socket, listening already")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--adapter",
        type=lambda given: given.split("=", 1),
        action="append",
        default=[],
        metavar="NAME=FOLDER",
    )
    parser.add_argument("--max-concurrent", type=int, default=8)
    parser.add_argument("--max-queue", type=int, default=64)
    parser.add_argument("--kv-cache-mb", type=int)
    parser.add_argument("--share-prompts", action="store_true")
    parser.add_argument("--idle-unload-s", type=float)
    parser.add_argument("--powercap", type=Path, default=POWERCAP)
    options = parser.parse_args()
    # The terminal's Ctrl-C is for the gateway, which finishes its streams before it ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()

    async def serve() -> None:
        await Worker(options, load, read).serve()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
