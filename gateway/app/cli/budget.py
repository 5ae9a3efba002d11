"""`slm-gateway budget`: what keys have spent of their budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from gateway.accounting.access.budget_reader import BudgetReader
from gateway.app.cli.figures import console_for_tables, money, plain, write_csv, write_json
from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit
from gateway.core.errors import LedgerUnavailable

_STYLES = {"ok": "", "degraded": "yellow", "exhausted": "red", "revoked": "dim", "expired": "dim"}
_COLUMNS = (
    *("key_id", "name", "budget_usd", "period", "over"),
    *("spent_usd", "reserved_usd", "resets_at", "state"),
)


def budget(
    config: ConfigFile = None,
    output: Annotated[Literal["table", "json", "csv"], typer.Option("--format")] = "table",
) -> None:
    """Show what each key with a budget has spent in its period, and what its calls may still."""
    settings = settings_or_exit(config)
    try:
        budgets = BudgetReader(settings.ledger.url).budgets()
    except LedgerUnavailable as error:
        refuse(error.message, 1)
    if output == "json":
        write_json(budgets)
    elif output == "csv":
        write_csv(_COLUMNS, budgets)
    elif budgets:
        console_for_tables().print(_table(budgets))
    else:
        typer.echo("No key has a budget.")


def _table(budgets: Sequence[dict[str, Any]]) -> Table:
    table = Table()
    for name in ("key", "state", "when over", "begins anew (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("budget", "spent", "reserved"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in budgets:
        resets_at = one["resets_at"]
        table.add_row(
            plain(one["name"]),
            one["state"],
            one["over"],
            "–" if resets_at is None else resets_at[:16].replace("T", " "),
            f"{money(one['budget_usd'])} / {one['period']}",
            money(one["spent_usd"]),
            money(one["reserved_usd"]),
            style=_STYLES[one["state"]],
        )
    return table
