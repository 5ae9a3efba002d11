"""Options that several commands take, and how they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway.settings import ConfigError, Settings, load_settings

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The configuration file; without it config/gateway.yaml here, else the defaults.",
        show_default=False,
    ),
]


def settings_or_exit(path: Path | None) -> Settings:
    """The settings, or the reasons why they are refused on standard error and exit status 2."""
    with exit_if_refused():
        return load_settings(path)


@contextmanager
def exit_if_refused() -> Iterator[None]:
    """Say why a configuration is refused on standard error, and exit with status 2."""
    try:
        yield
    except ConfigError as error:
        refuse(str(error))


def refuse(message: str, status: int = 2) -> NoReturn:
    """Say why on standard error, and end."""
    typer.echo(message, err=True)
    raise typer.Exit(status)


@contextmanager
def training_extra() -> Iterator[None]:
    """Say which package is missing where the extra `train` isn't installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        refuse(f"{error.name} is missing: install `slm-gateway[train]`.", 1)
