"""Runs the application under uvicorn: one process, or several that share a port."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from gateway.app.protocol import Limits, Protocol
from gateway.app.reload import LiveGateway
from gateway.app.sharing import sharing_of
from gateway.app.source import ConfigSource
from gateway.app.telemetry import Telemetry
from gateway.app.web import create_app
from gateway.app.workers import START_FAILED, Workers
from gateway.core.errors import ShuttingDown
from gateway.settings import ConfigError, Environment, Settings

#: How long clients may take to hear that their answers were cut, and requests to end after that.
CUT_WITHIN_S = 1.0
END_WITHIN_S = 5.0

#: New objects between two looks for garbage, and how long the event loop waits for another thread.
GARBAGE_AFTER = 20_000
TURN_S = 0.0005


@dataclass(slots=True, frozen=True)
class Launch:
    """All that a web process is started with.

    `settings` are those of the source at start; `engine_sockets` gives, by deployment name, where
    a running local engine listens; web processes put their metrics into `metrics_folder`.
    """

    source: ConfigSource
    settings: Settings
    environment: Environment
    engine_sockets: Mapping[str, Path]
    metrics_folder: Path | None = None


def run(launch: Launch) -> int:
    """Serve until a signal ends it; the exit status. Raises ConfigError."""
    workers = launch.settings.server.workers
    if workers == 1:
        _server(launch).run()
        return 0
    listener = _config("", launch.settings).bind_socket()
    with tempfile.TemporaryDirectory(prefix="slm-gateway-metrics-") as folder:
        shared = replace(launch, metrics_folder=Path(folder))
        return Workers(workers, listener, functools.partial(_serve_worker, shared)).run()


class GracefulServer(uvicorn.Server):
    """Finishes what is in flight, for as long as it may; then cuts it, and tells clients so.

    A second signal cuts at once. SIGHUP reloads the configuration.
    """

    def __init__(self, config: uvicorn.Config, live: LiveGateway, grace_s: float) -> None:
        super().__init__(config)
        self._live = live
        self._grace_s = grace_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, to SIGHUP too."""
        await super().startup(sockets)
        _tune_interpreter()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._live.reload_now)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; at once, if told a second time."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let requests end, cut those that don't, then stop the gateway."""
        self._live.ending.set()
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()
        await self._idle(self._grace_s, is_patient=True)
        for task in self.server_state.tasks:
            task.cancel(ShuttingDown())
        await self._idle(CUT_WITHIN_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # its client doesn't read
        await self._idle(END_WITHIN_S)
        await self.lifespan.shutdown()

    async def _idle(self, within_s: float, *, is_patient: bool = False) -> None:
        """Wait until no request is left, for at most so long; patiently: unless told to hurry."""
        state = self.server_state
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while (state.connections or state.tasks) and loop.time() < deadline:
            if is_patient and self.force_exit:
                return
            for connection in list(state.connections):
                connection.shutdown()
            await asyncio.sleep(0.02)


def _tune_interpreter() -> None:
    """Shorter pauses: what has been made so far isn't looked at again, and threads take turns."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)
    sys.setswitchinterval(TURN_S)


def _server(launch: Launch) -> GracefulServer:
    live = LiveGateway(launch.source, launch.settings, launch.environment, launch.engine_sockets)
    sharing = sharing_of(live, launch.environment)
    connected = (lambda: None) if sharing is None else sharing.is_connected
    telemetry = Telemetry(live, launch.environment, launch.metrics_folder, connected)
    config = _config(create_app(live, telemetry, sharing), launch.settings)
    return GracefulServer(config, live, launch.settings.server.shutdown_grace_s)


def _serve_worker(launch: Launch, listener: socket.socket, orders: Connection) -> None:
    """A web process's whole life; it ends on its parent's orders, or with its parent."""
    try:
        server = _server(launch)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(START_FAILED)

    def obey() -> None:
        try:
            while True:
                orders.recv()
                server.handle_exit(signal.SIGTERM, None)
        except (EOFError, OSError):
            server.should_exit = True

    threading.Thread(target=obey, name="orders", daemon=True).start()
    server.run([listener])


def _limits(settings: Settings) -> Limits:
    server = settings.server
    return Limits(
        header_bytes=int(server.max_header_kb * 1024),
        header_timeout_s=server.header_timeout_s,
        body_timeout_s=server.body_timeout_s,
        body_bytes_per_s=server.min_body_kb_per_s * 1024,
        keep_alive_s=server.keep_alive_s,
        write_timeout_s=server.write_timeout_s,
        connections=server.max_connections,
    )


def _config(application: ASGIApp | str, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        host=settings.server.host,
        port=settings.server.port,
        loop="uvloop",
        http=functools.partial(Protocol, limits=_limits(settings)),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=4096,
    )
