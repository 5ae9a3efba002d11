"""Runs the application under uvicorn: one process, or several that share a port."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from gateway.app.compose import compose
from gateway.app.web import create_app
from gateway.settings import Environment, Settings


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
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(server.shutdown_grace_s),
        backlog=4096,
    )
    if server.workers == 1:
        uvicorn.Server(config).run()
    else:
        Multiprocess(config, sockets=[config.bind_socket()]).run()


def _application(
    settings: Settings, environment: Environment, engine_sockets: Mapping[str, Path]
) -> ASGIApp:
    return create_app(compose(settings, environment, engine_sockets))
