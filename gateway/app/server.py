"""Runs the application under uvicorn: one process, or several that share a port."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from gateway.app.compose import compose
from gateway.app.logs import logging_to_stdout
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
        _serve(config, settings)
    else:
        socket = config.bind_socket()
        target = functools.partial(_serve, config, settings)
        uvicorn.supervisors.Multiprocess(config, target=target, sockets=[socket]).run()


def _serve(config: uvicorn.Config, settings: Settings, sockets: list[object] | None = None) -> None:
    with logging_to_stdout(settings.logging):
        uvicorn.Server(config).run(sockets=sockets)  # type: ignore[arg-type]  # sockets of uvicorn


def _application(
    settings: Settings, environment: Environment, engine_sockets: Mapping[str, Path]
) -> FastAPI:
    return create_app(compose(settings, environment, engine_sockets))
