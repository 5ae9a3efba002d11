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
from gateway.accounting.query import Grouping, LedgerReader
from gateway.accounting.row import COLUMNS
from gateway.accounting.sums import SHOWN_SUMS
from gateway.accounting.whatif import SCENARIOS, Scenario, WhatIf
from gateway.app.cli.export import Records, export, with_progress
from gateway.app.cli.figures import (
    console_for_tables,
    energy,
    money,
    plain,
)
from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit
from gateway.app.cli.scenarios_report import bill, print_scenarios, verdict
from gateway.app.deployments import deployments_of
from gateway.app.scenarios import weighed, what_if_record
from gateway.core.deployment import Deployment
from gateway.core.errors import LedgerUnavailable
from gateway.settings import Environment

Format = Literal["table", "json", "csv", "parquet"]

#: Rows in a table when no --limit is given; json and csv then print every row.
_TABLE_ROWS = 20

_EXPORTED_AT_ONCE = 5000

#: To compare more calls than this takes seconds, so one has to ask for it.
_MOST_COMPARED = 100_000

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
    """What `costs` was asked for. Without `limit` a table is short and everything else whole.

    `usd_per_hour` is what the machine costs that routes.
    """

    format: Format = "table"
    by: Grouping | None = None
    what_if: Scenario | None = None
    limit: int | None = None
    filters: Filters = field(default_factory=Filters)
    output: Path | None = None
    usd_per_hour: Decimal | None = None


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
    usd_per_hour = settings.routing.usd_per_hour
    report = CostsReport(form, by, what_if, limit, filters, output, usd_per_hour)
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
        sums = reader.summary(report.by, limit=report.limit, **report.filters)
        return (report.by, *SHOWN_SUMS), [sums]
    if report.what_if is not None:
        (outcome,) = _weighed(reader, deployments, report, report.what_if)
        record = what_if_record(outcome)
        return tuple(record), [[record]]
    batches = reader.batches(limit=report.limit, size=_EXPORTED_AT_ONCE, **report.filters)
    total = reader.count(**report.filters)
    return COLUMNS, with_progress(batches, min(total, report.limit or total), _EXPORTED_AT_ONCE)


def _print_tables(
    reader: LedgerReader, deployments: Sequence[Deployment], report: CostsReport
) -> None:
    console = console_for_tables()
    if report.what_if is not None:
        outcomes = _weighed(reader, deployments, report, *SCENARIOS)
        print_scenarios(console, outcomes, report.what_if)
        return
    calls, whole = reader.count(**report.filters), True
    # Sums outlive their rows, and only rows can be compared.
    is_large = calls > _MOST_COMPARED and reader.kept(**report.filters) > _MOST_COMPARED
    if report.by is None:
        rows = reader.rows(limit=report.limit or _TABLE_ROWS, **report.filters)
        table, empty = _rows_table(rows), not rows
    else:
        whole = is_large or calls <= reader.kept(**report.filters)
        groups = reader.summary(report.by, **report.filters)
        # A call counts under each of its tags.
        once = groups if report.by != "tag" else reader.summary("tier", **report.filters)
        total = sum(Decimal(group["cost_usd"] or 0) for group in once)
        table, empty = _groups_table(report.by, groups[: report.limit], total), not groups
    if empty:
        asked = any(value is not None for value in report.filters.values())
        typer.echo("No calls match." if asked else "No calls have been recorded yet.")
        return
    console.print(table)
    if not whole:
        console.print("Older rows are deleted and live on in the sums above; of those kept:")
    if is_large:
        console.print(bill(reader.summary("tier", **report.filters)), highlight=False)
        return
    (outcome,) = _weighed(reader, deployments, report, "all-large")
    console.print(verdict(outcome), highlight=False)


def _weighed(
    reader: LedgerReader,
    deployments: Sequence[Deployment],
    report: CostsReport,
    *kinds: Scenario,
) -> list[WhatIf]:
    return weighed(reader, deployments, report.usd_per_hour, *kinds, **report.filters)


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


def _count(tokens: int | None) -> str:
    return "–" if tokens is None else f"{tokens:,}"


def _amount(known: float | None) -> str:
    return "–" if known is None else f"{known:,.3g}"
