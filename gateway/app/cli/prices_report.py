"""What `prices` prints: a list of prices with their sources, or the ledger's rows priced again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from rich.markup import escape
from rich.table import Table

from gateway.accounting.catalogue import catalogue_version
from gateway.accounting.price_list import PricedModel, Quote
from gateway.accounting.pricing import usd_text
from gateway.accounting.repricing import Repriced, totals
from gateway.app.cli.figures import (
    ReportFormat,
    console_for_tables,
    counted,
    money,
    plain,
    write_csv,
    write_json,
)
from gateway.core.price import RATES, Price

#: Other sources that a line of the table names; JSON has all.
_MOST_OTHERS = 3


def write_prices(models: Sequence[PricedModel], output: ReportFormat) -> None:
    """Print prices: a table, JSON with everything that is known, or CSV with the base rates."""
    if output == "json":
        write_json(map(_record, models))
    elif output == "csv":
        write_csv(_CSV_COLUMNS, map(_csv_record, models))
    else:
        console = console_for_tables()
        console.print(_table(models))
        console.print(
            f"USD per million tokens, in UTC; listed prices are those of {catalogue_version()}.",
            highlight=False,
        )


def _table(models: Iterable[PricedModel]) -> Table:
    table = Table()
    table.add_column("model", overflow="fold")
    for name in ("context", "in", "cached", "out"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("licence", overflow="fold")
    table.add_column("from", overflow="fold")
    table.add_column("and", overflow="fold")
    for one in models:
        price = one.quote.price
        names = [one.name] if one.deployment is None else [one.deployment, one.name]
        table.add_row(
            "\n".join(map(plain, dict.fromkeys(names))),
            _window(one),
            *_base_rates(price),
            escape(one.licence or "–"),
            escape("no price is known" if price is None else one.quote.source),
            escape("\n".join(_remarks(one))),
        )
    return table


def _base_rates(price: Price | None) -> tuple[str, str, str]:
    if price is None:
        return "–", "–", "–"
    if price.usd_per_hour is not None:
        return f"${price.usd_per_hour}/h", "", ""
    return (
        _rate(price.usd_per_million_input),
        _rate(price.usd_per_million_cached_input),
        _rate(price.usd_per_million_output),
    )


def _window(one: PricedModel) -> str:
    known = "–" if one.context_window is None else f"{one.context_window:,}"
    return "\n".join([known, *dict.fromkeys(f"or {q.context_window:,}" for q in one.other_windows)])


def _remarks(one: PricedModel) -> Iterable[str]:
    price = one.quote.price
    if price is not None:
        for tier in price.tiers:
            yield f"above {tier.above_tokens:,}: {_in_out(tier.price)}"
        for name, service in price.service_tiers:
            yield f"{name}: {_in_out(service)}"
        if price.schedule:
            last = price.schedule[-1]
            for begins, at in last.prices if len(last.prices) > 1 else ():
                yield f"from {begins:%H:%M}: {_in_out(at)}"
    differing = one.differing
    for quote in differing[:_MOST_OTHERS]:
        yield f"{_short(quote.source)}: {_in_out(quote.price)}"
    if len(differing) > _MOST_OTHERS:
        yield f"and {counted(len(differing) - _MOST_OTHERS, 'other price')}"


def _short(source: str) -> str:
    """Who says so: of an entry of the catalogue the provider."""
    return source.partition(":")[2].partition("/")[0] if "/" in source else source


def _in_out(price: Price | None) -> str:
    if price is None:
        return "–"
    return f"{_rate(price.usd_per_million_input)} / {_rate(price.usd_per_million_output)}"


def _rate(rate: Decimal | None) -> str:
    return "–" if rate is None else usd_text(rate) or "–"


def _record(one: PricedModel) -> dict[str, Any]:
    return {
        "name": one.name,
        "deployment": one.deployment,
        "maker": one.maker,
        "licence": one.licence,
        "context_window": one.context_window,
        "source": one.quote.source,
        "catalogue": catalogue_version(),
        "price": _price_record(one.quote.price),
        "differing": [_quote_record(quote) for quote in one.differing],
        "other_context_windows": [_quote_record(quote) for quote in one.other_windows],
    }


def _quote_record(quote: Quote) -> dict[str, Any]:
    read, written = quote.rates
    return {
        "source": quote.source,
        "usd_per_million_input": usd_text(read),
        "usd_per_million_output": usd_text(written),
        "context_window": quote.context_window,
    }


def _price_record(price: Price | None) -> dict[str, Any] | None:
    if price is None:
        return None
    return {
        "price_id": price.price_id,
        **{name: usd_text(rate) for name, rate in price.rates() if rate is not None},
        "tiers": [
            {"above_tokens": tier.above_tokens, **(_price_record(tier.price) or {})}
            for tier in price.tiers
        ],
        "service_tiers": {name: _price_record(one) for name, one in price.service_tiers},
        "schedule": [
            {
                "since": period.since.isoformat(),
                "prices": [
                    {"begins": f"{begins:%H:%M}", **(_price_record(one) or {})}
                    for begins, one in period.prices
                ],
            }
            for period in price.schedule
        ],
    }


_CSV_COLUMNS = ("name", "deployment", "maker", "licence", "context_window", "source", *RATES)


def _csv_record(one: PricedModel) -> dict[str, Any]:
    price = one.quote.price
    rates = {} if price is None else {name: usd_text(rate) for name, rate in price.rates()}
    return {
        "name": one.name,
        "deployment": one.deployment,
        "maker": one.maker,
        "licence": one.licence,
        "context_window": one.context_window,
        "source": one.quote.source,
        **rates,
    }


_REPRICED_COLUMNS = tuple(Repriced.__slots__)


def write_repriced(groups: Sequence[Repriced], at: str, output: ReportFormat) -> None:
    """Print what rows were booked at and would cost now: a table, or one record a group."""
    if output == "json":
        write_json(map(_repriced_record, groups))
        return
    if output == "csv":
        write_csv(_REPRICED_COLUMNS, map(_repriced_record, groups))
        return
    console = console_for_tables()
    if not groups:
        console.print("No calls match, or none have been recorded yet.")
        return
    console.print(_repriced_table(groups, at))
    total = totals(groups)
    console.print(
        f"[bold]{counted(total.differing, 'call')} of {total.compared:,} would cost something else"
        f"[/]: {money(usd_text(total.booked_usd))} was booked, "
        f"{money(usd_text(total.repriced_usd))} at these prices. Nothing was changed.",
        highlight=False,
    )
    if total.found:
        found = money(usd_text(total.found_usd))
        console.print(f"{counted(total.found, 'call')} without a price would cost {found}.")
    if total.kept:
        console.print(
            f"{counted(total.kept, 'call')} can't be priced again: no tokens or no price of them "
            "is known."
        )


def _repriced_record(group: Repriced) -> dict[str, Any]:
    record = asdict(group)
    for name in ("booked_usd", "repriced_usd", "found_usd"):
        record[name] = usd_text(record[name])
    return record


def _repriced_table(groups: Iterable[Repriced], at: str) -> Table:
    when = "of their own time" if at == "dated" else "of today"
    table = Table(title=f"the ledger's calls at the prices {when}", title_justify="left")
    table.add_column("deployment", overflow="fold")
    table.add_column("booked at", overflow="fold")
    for name in ("calls", "booked", "now", "difference", "differing"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in groups:
        change = group.repriced_usd - group.booked_usd
        sign = "-" if change < 0 else "+"
        table.add_row(
            plain(group.deployment),
            plain(group.booked_at),
            f"{group.calls:,}",
            money(usd_text(group.booked_usd)) if group.compared else "–",
            money(usd_text(group.repriced_usd)) if group.compared else "–",
            f"{sign}{money(usd_text(abs(change)))}" if change else "$0" if group.compared else "–",
            f"{group.differing:,}",
            style="bold" if group.differing else "",
        )
    return table
