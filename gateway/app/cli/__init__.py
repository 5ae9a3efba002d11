"""The command line: one file a command, imported only when that command runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import typer

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
    "prices": ("prices", "List what deployments and models cost, and where that is from."),
    "keys": ("keys", "Make, list, change, replace and end virtual keys."),
    "budget": ("budget", "Show what keys have spent of their budgets."),
    "replay": ("replay", "Replay the ledger at other thresholds, without a call."),
    "calibrate": ("calibrate", "Solve policies' targets for thresholds, on your ledger."),
    "train": ("train", "Train the router from a data folder, or correct it by rated traffic."),
    "routers": ("learn", "List learnt routers, promote one, or roll back."),
    "shadow": ("learn", "Compare the live router with the shadow one."),
    "evaluate": ("train", "Measure a classifier on a data folder."),
}


def _application(arguments: Sequence[str]) -> typer.Typer:
    """The command that is asked for, or all of them for `--help`; the others aren't imported."""
    application = typer.Typer(no_args_is_help=True, add_completion=False)
    application.callback()(_root)
    asked = [name for name in arguments[:1] if name in COMMANDS]
    for name in asked or COMMANDS:
        module, summary = COMMANDS[name]
        command = getattr(importlib.import_module(f"gateway.app.cli.{module}"), name)
        if isinstance(command, typer.Typer):
            application.add_typer(command, name=name, short_help=summary)
        else:
            application.command(name=name, short_help=summary)(command)
    return application


def _root() -> None:
    """Routes each chat request to a small or a large model and accounts for every cent."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a broken pipe (`… | head`) ends it quietly."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _application(given)(args=given, prog_name="slm-gateway")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
