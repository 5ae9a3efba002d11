"""`slm-gateway serve`."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway.app.cli.options import ConfigFile, exit_if_refused, refuse
from gateway.app.source import ConfigSource
from gateway.backends.local.process import ENCODER, ENGINE, EngineProcess
from gateway.core.errors import LedgerUnavailable
from gateway.settings import DEFAULT_PATH, Environment, Settings


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", min=0, max=65535)] = None,
    workers: Annotated[int | None, typer.Option(help="Web processes.", min=1, max=64)] = None,
) -> None:
    """Run the gateway until a signal ends it; streams in flight are finished first."""
    given = {"host": host, "port": port, "workers": workers}
    options = {key: value for key, value in given.items() if value is not None}
    source = ConfigSource(config or (DEFAULT_PATH if DEFAULT_PATH.is_file() else None), options)
    with exit_if_refused():
        settings = source.load()
    environment = Environment.of_process()
    _refuse_open_door(settings, environment)
    # The server finishes its streams first, then raises the signal again: ending is no failure,
    # and the engines are to be closed on the way out.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    with ExitStack() as engines:
        # The engines start first: their slow imports run beside the web server's own.
        sockets = {
            name: engines.enter_context(process).socket_path
            for name, process in _engines(settings, environment).items()
        }
        from gateway.app.server import Launch, run

        address = settings.server.url
        typer.echo(f"slm-gateway on {address}/v1")
        if settings.dashboard.enabled:
            typer.echo(f"dashboard on {address}/dashboard")
        with exit_if_refused():
            status = run(Launch(source, settings, environment, sockets))
    if status:
        raise typer.Exit(status)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


def _refuse_open_door(settings: Settings, environment: Environment) -> None:
    from gateway.app.loopback import is_loopback

    host = settings.server.host
    if environment.client_keys(settings) or is_loopback(host):
        return
    from gateway.accounting.access.book import KeyBook

    book = KeyBook(settings.ledger.url)
    try:
        book.read()
    except LedgerUnavailable as error:
        refuse(f"{error.message} Set {settings.auth.api_keys_env} to serve {host} without them.")
    finally:
        book.stop()
    if not book.has_keys:
        refuse(
            f"Without client keys the gateway serves this machine only, not {host}: set "
            f"{settings.auth.api_keys_env} to one or more keys, separated by commas, or make one "
            "with `slm-gateway keys create`."
        )


def _engines(settings: Settings, environment: Environment) -> dict[str, EngineProcess]:
    models_dir: Path = environment.models_dir(settings)
    return {
        entry.name: EngineProcess(
            entry.model,
            models_dir,
            threads=entry.threads,
            dtype=entry.dtype,
            max_concurrent=entry.most_calls,
            max_queue=entry.most_waiting,
            worker=ENCODER if entry.serves == "embeddings" else ENGINE,
            starts_lazily=entry.serves == "embeddings",
            adapters=entry.adapters,
            kv_cache_mb=entry.kv_cache_mb,
            shares_prompts=entry.share_prompt_cache,
            idle_unload_s=entry.idle_s,
            powercap=settings.energy.powercap,
        )
        for entry in settings.deployments
        if entry.backend == "local"
    }
