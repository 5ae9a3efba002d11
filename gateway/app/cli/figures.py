"""How commands write figures and records: for people, and as JSON or CSV for programs."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal

import orjson
import typer
from rich.console import Console
from rich.markup import escape

#: How a report is written: for people, or for programs.
ReportFormat = Literal["table", "json", "csv"]


def write_json(records: Iterable[dict[str, Any]]) -> None:
    """An array, one record a line."""
    texts = [orjson.dumps(record).decode() for record in records]
    typer.echo("[\n" + ",\n".join(texts) + "\n]" if texts else "[]")


def write_csv(columns: Sequence[str], records: Iterable[dict[str, Any]]) -> None:
    """A header, then one record a line."""
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    for record in records:
        if "tags" in record:
            record["tags"] = orjson.dumps(record["tags"]).decode()
        writer.writerow(record)


def counted(count: int, noun: str) -> str:
    """A number of things, in the singular where it is one."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def plain(text: str) -> str:
    """A text that clients may have chosen, without markup or control characters."""
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def console_for_tables() -> Console:
    """The terminal, or 120 columns where the output goes elsewhere."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def money(usd: str | None) -> str:
    """An amount to read: cents above a dollar, six decimals below; json and csv are exact."""
    if usd is None:
        return "unpriced"
    amount = Decimal(usd)
    if 0 < amount < Decimal("0.000001"):
        return "<$0.000001"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.6f}"


def energy(amount: float | None, source: str | None) -> str:
    """Thousandths of an amount of energy or gas; `~` before one that is estimated."""
    if amount is None:
        return "–"
    sign = "~" if (source or "").startswith("estimated") else ""
    return f"{sign}{amount * 1000:,.3g}"
