"""`slm-gateway costs`: what was spent, on what, and what all-large would have cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from gateway.accounting.filters import Filters
from gateway.accounting.pricing import usd_text
from gateway.accounting.query import Grouping, LedgerReader
from gateway.accounting.row import COLUMNS
from gateway.accounting.sums import SHOWN_SUMS
from gateway.accounting.whatif import Scenario, WhatIf, what_if
from gateway.app.cli.export import Records, export, with_progress
from gateway.app.cli.figures import (
    console_for_tables,
    counted,
    energy,
    money,
    plain,
)
from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit
from gateway.app.deployments import deployments_of, priced_deployment
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import LedgerUnavailable
from gateway.settings import Environment

Format = Literal["table", "json", "csv", "parquet"]

#: Rows in a table when no --limit is given; json and csv then print every row.
_TABLE_ROWS = 20

_EXPORTED_AT_ONCE = 5000

_RELATIVE = re.compile(r"(\d{1,5})([hd])")


def moment(text: str) -> datetime:
    """A time as people write it: `2026-11-01`, `2026-11-01T12:30`, or `24h`, `7d` ago (UTC)."""
    relative = _RELATIVE.fullmatch(text)
    if relative is not None:
        count = int(relative[1])
        return datetime.now(UTC) - (
            timedelta(hours=count) if relative[2] == "h" else timedelta(count)
        )
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date, date and time, or 24h, 7d") from None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def tag_filter(text: str) -> str:
    """A tag as `key=value`."""
    if "=" not in text:
        raise typer.BadParameter(f"{text!r} isn't of the form key=value")
    return text


When = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="DATE|24h|7d", help="In UTC.", show_default=False),
]


@dataclass(slots=True, frozen=True)
class CostsReport:
    """What `costs` was asked for. Without `limit` a table is short and everything else whole."""

    format: Format = "table"
    by: Grouping | None = None
    what_if: Scenario | None = None
    limit: int | None = None
    filters: Filters = field(default_factory=Filters)
    output: Path | None = None


def costs(  # noqa: PLR0913, PLR0917 (one argument an option)
    config: ConfigFile = None,
    form: Annotated[
        Format, typer.Option("--format", help="json, csv and parquet: every row.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option(help="A file instead of the terminal.", dir_okay=False)
    ] = None,
    by: Annotated[Grouping | None, typer.Option(help="Sums instead of rows.")] = None,
    what_if: Annotated[
        Scenario | None, typer.Option(help="What the same traffic would have cost.")
    ] = None,
    since: When = None,
    until: When = None,
    key: Annotated[str | None, typer.Option(help="Only this key id.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this deployment or model.")] = None,
    tier: Annotated[Literal["small", "large"] | None, typer.Option(help="Only this tier.")] = None,
    tag: Annotated[
        str | None, typer.Option(parser=tag_filter, metavar="KEY=VALUE", help="Only this tag.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
) -> None:
    """Show what calls cost, from the ledger: the latest rows, or sums with --by."""
    settings = settings_or_exit(config)
    filters = Filters(since=since, until=until, key=key, model=model, tier=tier, tag=tag)
    if form == "table" and output is not None:
        refuse("A table goes to the terminal: add --format json, csv or parquet.")
    report = CostsReport(form, by, what_if, limit, filters, output)
    deployments = deployments_of(settings, Environment.of_process())
    try:
        render_costs(settings.ledger.url, deployments, report)
    except LedgerUnavailable as error:
        refuse(error.message, 1)


def render_costs(url: str, deployments: Sequence[Deployment], report: CostsReport) -> None:
    """Print a report on standard output, or write it into its file. Raises LedgerUnavailable."""
    reader = LedgerReader(url)
    if report.format == "table":
        _print_tables(reader, deployments, report)
        return
    columns, batches = _batches(reader, deployments, report)
    export(report.format, columns, batches, report.output)


def _batches(
    reader: LedgerReader, deployments: Sequence[Deployment], report: CostsReport
) -> tuple[Sequence[str], Iterable[Records]]:
    if report.by is not None:
        sums = reader.summary(report.by, **report.filters)[: report.limit]
        return (report.by, *SHOWN_SUMS), [sums]
    if report.what_if is not None:
        outcome = _what_if(reader, deployments, report.what_if, report.filters)
        record = {
            "what_if": outcome.kind,
            "requests": outcome.requests,
            "cost_usd": usd_text(outcome.usd),
            "unknown": outcome.unknown,
            "actual_cost_usd": usd_text(outcome.actual_usd),
            "unpriced": outcome.unpriced,
            "saved_share": outcome.saved_share,
        }
        return tuple(record), [[record]]
    batches = reader.batches(limit=report.limit, size=_EXPORTED_AT_ONCE, **report.filters)
    total = reader.count(**report.filters)
    return COLUMNS, with_progress(batches, min(total, report.limit or total), _EXPORTED_AT_ONCE)


def _print_tables(
    reader: LedgerReader, deployments: Sequence[Deployment], report: CostsReport
) -> None:
    console = console_for_tables()
    outcome = _what_if(reader, deployments, report.what_if or "all-large", report.filters)
    whole = True
    if report.by is None:
        rows = reader.rows(limit=report.limit or _TABLE_ROWS, **report.filters)
        table, empty = _rows_table(rows), not rows
    else:
        groups = reader.summary(report.by, **report.filters)
        total = sum(Decimal(group["cost_usd"] or 0) for group in groups)
        if report.by == "tag":  # a call counts under each of its tags
            total = outcome.actual_usd or Decimal(0)
        whole = total == (outcome.actual_usd or 0)
        table, empty = _groups_table(report.by, groups[: report.limit], total), not groups
    if empty:
        asked = any(value is not None for value in report.filters.values())
        typer.echo("No calls match." if asked else "No calls have been recorded yet.")
        return
    console.print(table)
    if not whole:
        console.print("Older rows are deleted and live on in the sums above; of those kept:")
    console.print(_verdict(outcome), highlight=False)


def _rows_table(rows: Iterable[dict[str, Any]]) -> Table:
    table = Table(title="latest calls", title_justify="left")
    for name in ("time (UTC)", "tier", "deployment", "reason", "outcome"):
        table.add_column(name, no_wrap=True)
    for name in ("in", "out", "cost", "mWh", "mg CO2", "ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        style = "" if row["outcome"] == "ok" else "yellow"
        table.add_row(
            row["ts"][:19].replace("T", " "),
            *(plain(row[name]) for name in ("tier", "deployment", "reason", "outcome")),
            _count(row["prompt_tokens"]),
            _count(row["completion_tokens"]),
            money(row["cost_usd"]),
            energy(row["energy_wh"], row["energy_source"]),
            energy(row["co2_g"], row["energy_source"]),
            f"{row['latency_ms']:,.0f}",
            style=style,
        )
    return table


def _groups_table(by: str, groups: Iterable[dict[str, Any]], total: Decimal | int) -> Table:
    table = Table(by)
    for name in ("calls", "tokens in", "tokens out", "cost", "share", "Wh", "g CO2"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in groups:
        share = f"{Decimal(group['cost_usd'] or 0) / total:.1%}" if total else "–"
        missing = f" + {group['unpriced']:,} unpriced" if group["unpriced"] else ""
        table.add_row(
            plain(group[by] or "(none)"),
            f"{group['calls']:,}",
            _count(group["prompt_tokens"]),
            _count(group["completion_tokens"]),
            money(group["cost_usd"]) + missing,
            share,
            _amount(group["energy_wh"]),
            _amount(group["co2_g"]),
        )
    return table


def _what_if(
    reader: LedgerReader, deployments: Sequence[Deployment], kind: Scenario, filters: Filters
) -> WhatIf:
    """The scenario at the price of its tier's first priced deployment, a callable one if any."""
    chosen = priced_deployment(deployments, Tier.LARGE if kind == "all-large" else Tier.SMALL)
    return what_if(reader, kind, chosen.price if chosen else None, **filters)


def _verdict(outcome: WhatIf) -> str:
    """One line: the total, the scenario's total, and what was saved."""
    spent = money(usd_text(outcome.actual_usd))
    missing = f" (without {counted(outcome.unpriced, 'unpriced call')})" if outcome.unpriced else ""
    line = f"[bold]Total {spent}[/]{missing} for {counted(outcome.requests, 'chat')}."
    if outcome.usd is None:
        return f"{line} What {outcome.kind} would have cost is unknown: no price."
    left_out = counted(outcome.unknown, "request")
    unknown = f" (without {left_out} of unknown cost)" if outcome.unknown else ""
    line += f" {outcome.kind.capitalize()}: {money(usd_text(outcome.usd))}{unknown}."
    if outcome.saved_share is None:
        return line
    colour = "green" if outcome.saved_share >= 0 else "red"
    return f"{line} [{colour}]Saved {outcome.saved_share:.1%}[/]."


def _count(tokens: int | None) -> str:
    return "–" if tokens is None else f"{tokens:,}"


def _amount(known: float | None) -> str:
    return "–" if known is None else f"{known:,.3g}"
