"""Runs the application under uvicorn: one process, or several that share a port."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from gateway.app.compose import compose
from gateway.app.protocol import LimitedProtocol, Limits
from gateway.app.web import create_app
from gateway.settings import Environment, ServerSettings, Settings


def run(settings: Settings, environment: Environment, engine_sockets: Mapping[str, Path]) -> None:
    """Serve until a signal ends it; streams in flight are finished first.

    `engine_sockets` gives, by deployment name, where a running local engine listens.
    """
    server = settings.server
    build = functools.partial(_application, settings, environment, dict(engine_sockets))
    config = uvicorn.Config(
        build,
        factory=True,
        host=server.host,
        port=server.port,
        workers=server.workers,
        loop="uvloop",
        http=functools.partial(LimitedProtocol, limits=_limits(server)),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=server.keep_alive_s,  # type: ignore[arg-type]
        timeout_graceful_shutdown=int(server.shutdown_grace_s),
        backlog=4096,
    )
    if server.workers == 1:
        uvicorn.Server(config).run()
    else:
        Multiprocess(config, sockets=[config.bind_socket()]).run()


def _limits(server: ServerSettings) -> Limits:
    return Limits(
        header_bytes=int(server.max_header_kb * 1024),
        header_timeout_s=server.header_timeout_s,
        body_timeout_s=server.body_timeout_s,
        body_bytes_per_s=server.min_body_kb_per_s * 1024,
        connections=server.max_connections,
    )


def _application(
    settings: Settings, environment: Environment, engine_sockets: Mapping[str, Path]
) -> ASGIApp:
    return create_app(compose(settings, environment, engine_sockets))
