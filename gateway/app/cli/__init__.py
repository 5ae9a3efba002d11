"""The command line: one file a command, imported only when that command runs."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click
import typer
from typer.core import TyperGroup

#: Command name → (module under `gateway.app.cli`, its help line).
COMMANDS = {
    "serve": ("serve", "Run the gateway."),
    "check": ("check", "Validate the configuration and print the resolved routes."),
    "pull": ("models", "Fetch a small model, once."),
    "models": ("models", "List the small models on this machine."),
    "chat": ("chat", "Talk to the running gateway in the terminal."),
    "route": ("route", "Explain where a prompt would go, and why."),
    "score": ("score", "Score a file of prompts."),
    "costs": ("costs", "Show what calls cost, from the ledger."),
    "train": ("train", "Train the router's classifier from a data folder."),
    "evaluate": ("train", "Measure a classifier on a data folder."),
}


class _LazyCommands(TyperGroup):
    """Loads a command's module when it is asked for, so that `serve` starts quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, summary = COMMANDS[cmd_name]
        function = getattr(importlib.import_module(f"gateway.app.cli.{module}"), cmd_name)
        single = typer.Typer(add_completion=False)
        single.command(name=cmd_name, short_help=summary)(function)
        command: click.Command = typer.main.get_command(single)
        return command


app = typer.Typer(cls=_LazyCommands, no_args_is_help=True, add_completion=False)


@app.callback()
def _root() -> None:
    """Routes each chat request to a small or a large model and accounts for every cent."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a broken pipe (`… | head`) ends it quietly."""
    options: dict[str, Any] = {"args": arguments, "prog_name": "slm-gateway"}
    try:
        app(**options)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
