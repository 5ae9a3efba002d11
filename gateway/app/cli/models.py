"""`slm-gateway pull` and `slm-gateway models`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit
from gateway.backends.local.fetch import FetchError
from gateway.backends.local.fetch import pull as fetch_model
from gateway.backends.local.folder import installed
from gateway.settings import Environment


def pull(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A known name, a hub id (org/name) or a folder; by default every "
            "local model of the configuration."
        ),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Fetch a small model, once: later calls return at once."""
    settings = settings_or_exit(config)
    models_dir = Environment.of_process().models_dir(settings)
    wanted = [entry.model for entry in settings.deployments if entry.backend == "local"]
    for name in [model] if model is not None else wanted:
        try:
            folder = fetch_model(name, models_dir)
        except FetchError as error:
            refuse(error.message, 1)
        typer.echo(f"{name} is ready in {folder}")


def models(config: ConfigFile = None) -> None:
    """List the small models on this machine."""
    models_dir = Environment.of_process().models_dir(settings_or_exit(config))
    found = installed(models_dir)
    if not found:
        typer.echo(f"No model in {models_dir}: fetch one with `slm-gateway pull`.")
        return
    table = Table("model", "context", "size", "licence", title=str(models_dir))
    for info in found:
        size = f"{info.size_bytes / 1e6:,.0f} MB"
        window = "unknown" if info.context_window is None else f"{info.context_window:,}"
        table.add_row(info.name, window, size, info.licence or "unknown")
    Console().print(table)
