"""The engine's process: `python -m gateway.backends.local.worker`, started by `process`.

It speaks one JSON object a line on a Unix socket. In: `submit` (id, messages, params), `cancel`
(id). Out: `status` (once on connection and whenever it changes), `text`, `end`, `error`.
It ends when its standard input closes, that is when its parent dies.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import orjson

from gateway.backends.local.params import SamplingParams

LINE_LIMIT = 64 * 1024 * 1024


class Worker:
    """Connections on one side, the engine's thread on the other."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._engine: Any = None
        self._status: dict[str, Any] = {"type": "status", "state": "loading"}
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        """Accept connections at once; load the model meanwhile."""
        server = await asyncio.start_unix_server(
            self._connection, self._options.socket, limit=LINE_LIMIT
        )
        threading.Thread(target=self._load, name="load", daemon=True).start()
        async with server:
            await server.serve_forever()

    def _load(self) -> None:
        options = self._options
        try:
            import torch

            from gateway.backends.local.engine import Engine
            from gateway.backends.local.load import load

            torch.set_num_threads(options.threads or os.cpu_count() or 1)
            model = load(Path(options.folder), options.dtype)
            self._engine = Engine(
                model, max_concurrent=options.max_concurrent, max_queue=options.max_queue
            )
            status = {"state": "ready", "context_window": model.context_window}
        except Exception as error:
            status = {"state": "failed", "reason": f"{type(error).__name__}: {error}"}
        self._loop.call_soon_threadsafe(self._announce, {"type": "status", **status})

    def _announce(self, status: dict[str, Any]) -> None:
        self._status = status
        for writer in self._writers:
            _write(writer, status)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        submissions: dict[int, Any] = {}
        self._writers.add(writer)
        _write(writer, self._status)
        try:
            while line := await reader.readline():
                self._handle(orjson.loads(line), submissions, writer)
        finally:
            self._writers.discard(writer)
            for submission in submissions.values():
                submission.cancelled.set()
            writer.close()

    def _handle(
        self, command: dict[str, Any], submissions: dict[int, Any], writer: asyncio.StreamWriter
    ) -> None:
        number = command["id"]
        if command["type"] == "cancel":
            submission = submissions.pop(number, None)
            if submission is not None:
                submission.cancelled.set()
            return
        if self._engine is None:
            error = {"code": "not_ready", "message": "The local model is not loaded yet."}
            _write(writer, {"type": "error", "id": number, **error})
            return
        from gateway.backends.local.engine import Submission

        def emit(event: dict[str, Any]) -> None:
            self._loop.call_soon_threadsafe(deliver, event)

        def deliver(event: dict[str, Any]) -> None:
            if number in submissions:
                _write(writer, {"id": number, **event})
                if event["type"] != "text":
                    del submissions[number]

        submissions[number] = Submission(
            command["messages"], SamplingParams.from_wire(command["params"]), emit
        )
        self._engine.submit(submissions[number])


def _write(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(orjson.dumps(event) + b"\n")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Read the options, then serve until the parent ends."""
    parser = argparse.ArgumentParser(prog="slm-gateway engine")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--max-concurrent", type=int, required=True)
    parser.add_argument("--max-queue", type=int, required=True)
    options = parser.parse_args()
    # The terminal's Ctrl-C is for the gateway, which finishes its streams before it ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    async def serve() -> None:
        await Worker(options).serve()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
