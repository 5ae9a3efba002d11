"""`slm-gateway pull` and `slm-gateway models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit
from gateway.backends.local.abilities import Abilities, abilities_of, fitting, installed_adapters
from gateway.backends.local.fetch import FetchError
from gateway.backends.local.fetch import pull as fetch_model
from gateway.backends.local.folder import ModelInfo, describe, installed
from gateway.settings import Environment, Settings

_MILLION, _BILLION = 1e6, 1e9
#: Columns of text where the output is no terminal.
_WIDE = 240


def pull(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A known name, a hub id (org/name), a GGUF file or a folder; by default every "
            "local model of the configuration, and its adapters."
        ),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Fetch a small model or an adapter, once: later calls return at once.

    A call that was cut is gone on with by the next one.
    """
    settings = settings_or_exit(config)
    models_dir = Environment.of_process().models_dir(settings)
    local = [entry for entry in settings.deployments if entry.backend == "local"]
    wanted = [name for entry in local for name in (entry.model, *entry.adapters.values())]
    for name in [model] if model is not None else dict.fromkeys(wanted):
        try:
            folder = fetch_model(name, models_dir)
        except FetchError as error:
            refuse(error.message, 1)
        typer.echo(f"{name} is ready in {folder}")


def models(config: ConfigFile = None) -> None:
    """List the small models on this machine, and what they can do."""
    settings = settings_or_exit(config)
    models_dir = Environment.of_process().models_dir(settings)
    found, adapters = _models(settings, models_dir), installed_adapters(models_dir)
    if not found and not adapters:
        typer.echo(f"No model in {models_dir}: fetch one with `slm-gateway pull`.")
        return
    columns = ("model", "family", "context", "disk", "licence", "does")
    table = Table(*columns, title=str(models_dir))
    for info in found:
        known = abilities_of(info.folder)
        window = "unknown" if info.context_window is None else f"{info.context_window:,}"
        table.add_row(
            *(info.name, _family(known), window, _size(info.folder)),
            *(info.licence or "unknown", known.does),
        )
    bases = {info.name: info.folder for info in found}
    for name, folder in adapters.items():
        known = abilities_of(folder)
        fits = ", ".join(fitting(folder, bases)) or "no model here"
        does = f"{known.does}; fits {fits}"
        table.add_row(name, _family(known), "", _size(folder), "", does)
    console = Console()
    # Where it is no terminal, no line is wrapped for a width that nobody has.
    (console if console.is_terminal else Console(width=_WIDE)).print(table)


def _models(settings: Settings, models_dir: Path) -> list[ModelInfo]:
    """Those that were pulled, and those of the configuration that are folders elsewhere."""
    pulled = installed(models_dir)
    configured = [
        describe(entry.model, models_dir)
        for entry in settings.deployments
        if entry.backend == "local"
    ]
    known = {info.folder for info in pulled}
    elsewhere = {
        info.folder: info for info in configured if info is not None and info.folder not in known
    }
    return [*pulled, *elsewhere.values()]


def _family(known: Abilities) -> str:
    """Such as `llama 134.5M`."""
    if known.parameters is None:
        return known.family
    if known.parameters >= _BILLION:
        return f"{known.family} {known.parameters / _BILLION:.1f}B"
    return f"{known.family} {known.parameters / _MILLION:.1f}M"


def _size(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / _MILLION:,.1f} MB"
