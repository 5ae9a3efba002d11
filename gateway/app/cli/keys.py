"""`slm-gateway keys`: virtual keys, made and ended while the gateway runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from rich.table import Table

from gateway.accounting.access.keys import (
    KeyRecord,
    KeyStore,
    NameTaken,
    NoSuchKey,
    budget_columns,
)
from gateway.accounting.database import iso_z
from gateway.accounting.pricing import MAX_USD, pico_of, usd_text_of
from gateway.app.cli.figures import console_for_tables, plain, write_json
from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit
from gateway.core.access import PERIODS, Budget, Over, Period
from gateway.core.errors import LedgerUnavailable

Format = Literal["table", "json"]

_DURATION = re.compile(r"(\d{1,5})([mhd])")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_NEVER = datetime.max.replace(tzinfo=UTC)
#: What takes a limit away.
NONE: Final = "none"

keys = typer.Typer(no_args_is_help=True, help="Make, list, change, replace and end virtual keys.")


def budget_of(text: str) -> tuple[int, Period] | Literal["none"]:
    """An amount and a period: `5/day`, `0.50/week`, `100/month`, `20` or `20/total`."""
    if text == NONE:
        return NONE
    amount, _, period = text.partition("/")
    period = period or "total"
    try:
        usd = Decimal(amount.removeprefix("$"))
    except InvalidOperation:
        usd = Decimal("NaN")
    if not (usd.is_finite() and 0 <= usd <= MAX_USD) or period not in PERIODS:
        known = ", ".join(PERIODS)
        raise typer.BadParameter(f"{text!r} isn't USD/PERIOD, such as 5/day (periods: {known})")
    return pico_of(usd), next(one for one in PERIODS if one == period)


def limit_of(text: str) -> int | Literal["none"]:
    """A whole number from 1, or none."""
    if text == NONE:
        return NONE
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**31:
        raise typer.BadParameter(f"{text!r} is no whole number from 1")
    return int(text)


def models_of(text: str) -> frozenset[str] | Literal["none"]:
    """Names separated by commas, or none: then all may be asked for."""
    names = frozenset(name for name in (part.strip() for part in text.split(",")) if name)
    if not names:
        raise typer.BadParameter("no model is named")
    return NONE if names == frozenset({NONE}) else names


def duration_of(text: str) -> timedelta:
    """`30m`, `24h` or `7d`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} isn't of the form 30m, 24h or 7d")
    count = int(found[1])
    return {"m": timedelta(minutes=count), "h": timedelta(hours=count), "d": timedelta(count)}[
        found[2]
    ]


def end_of(text: str) -> datetime:
    """When a key ends: `2027-01-31`, `2027-01-31T12:00` (UTC), or `24h`, `7d` from now."""
    if text == "never":
        return _NEVER
    if _DURATION.fullmatch(text):
        return datetime.now(UTC) + duration_of(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date, date and time, or 24h, 7d") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


Which = Annotated[str, typer.Argument(metavar="KEY", help="Its name or id.")]
Output = Annotated[Format, typer.Option("--format")]
BudgetOption = Annotated[
    Any,
    typer.Option(
        parser=budget_of, metavar="USD/PERIOD", help="Such as 5/day; or week, month, total."
    ),
]
OverOption = Annotated[
    Over | None, typer.Option(help="Beyond the budget: refuse, or degrade to the small tier.")
]
LimitOption = Annotated[Any, typer.Option(parser=limit_of, metavar="N")]
ModelsOption = Annotated[
    Any, typer.Option(parser=models_of, metavar="NAME,…", help="All that it may ask for.")
]
EndOption = Annotated[
    datetime | None, typer.Option(parser=end_of, metavar="DATE|24h|7d|never", show_default=False)
]


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="What lists show; unique.")],
    config: ConfigFile = None,
    budget: BudgetOption = None,
    over: OverOption = None,
    rpm: LimitOption = None,
    tpm: LimitOption = None,
    models: ModelsOption = None,
    expires: EndOption = None,
    output: Output = "table",
) -> None:
    """Make a key. It is shown this once; only its digest is kept."""
    if not _NAME.fullmatch(name):
        refuse("A name has up to 64 of A-Z a-z 0-9 . _ @ - and begins with a letter or digit.")
    if over is not None and _given(budget) is None:
        refuse("--over needs a --budget.")
    found = _given(budget)
    with _store(config) as store:
        record, secret = store.create(
            name,
            budget=None if found is None else Budget(found[0], found[1], over or "refuse"),
            rpm=_given(rpm),
            tpm=_given(tpm),
            models=_given(models),
            expires=None if expires in {None, _NEVER} else expires,
        )
    _show_secret(record, secret, output)


@keys.command("list")
def list_(config: ConfigFile = None, output: Output = "table") -> None:
    """List all keys, revoked ones too, without the keys themselves."""
    with _store(config) as store:
        records = store.all()
    if output == "json":
        write_json(map(_shown, records))
    elif records:
        console_for_tables().print(_table(records))
    else:
        typer.echo("There are no virtual keys.")


@keys.command()
def update(
    key: Which,
    config: ConfigFile = None,
    budget: BudgetOption = None,
    over: OverOption = None,
    rpm: LimitOption = None,
    tpm: LimitOption = None,
    models: ModelsOption = None,
    output: Output = "table",
) -> None:
    """Change limits; 'none' takes one away. What the key has spent already counts."""
    values: dict[str, Any] = {}
    if budget == NONE:
        values |= budget_columns(None)
    elif budget is not None:
        values |= {"budget_pico": budget[0], "budget_period": budget[1]}
    values |= {
        name: None if value == NONE else value
        for name, value in (("rpm", rpm), ("tpm", tpm))
        if value is not None
    }
    if models is not None:
        values["models"] = None if models == NONE else json.dumps(sorted(models))
    with _store(config) as store:
        before = next((one for one in store.all() if key in {one.key.name, one.key.key_id}), None)
        kept = None if before is None else before.key.budget
        if "budget_pico" not in values and over is not None and kept is None:
            refuse("--over needs a --budget.")
        if budget != NONE and (budget is not None or over is not None):
            values["budget_over"] = over or ("refuse" if kept is None else kept.over)
        record = store.change(key, values)
    _show(record, output)


@keys.command()
def rotate(
    key: Which,
    config: ConfigFile = None,
    overlap: Annotated[
        timedelta | None,
        typer.Option(parser=duration_of, metavar="30m|24h|7d", help="How long the old one lasts."),
    ] = None,
    output: Output = "table",
) -> None:
    """Give a key another secret; its id, limits and spending stay. The old one ends at once."""
    with _store(config) as store:
        record, secret = store.rotate(key, overlap=overlap)
    _show_secret(record, secret, output)


@keys.command()
def revoke(key: Which, config: ConfigFile = None, output: Output = "table") -> None:
    """End a key for good, within a second."""
    with _store(config) as store:
        record = store.revoke(key)
    _show(record, output)


@keys.command()
def expire(
    key: Which,
    at: Annotated[
        datetime,
        typer.Option("--at", parser=end_of, metavar="DATE|24h|7d|never", show_default=False),
    ],
    config: ConfigFile = None,
    output: Output = "table",
) -> None:
    """Set when a key ends by itself."""
    with _store(config) as store:
        record = store.change(key, {"expires": None if at == _NEVER else at})
    _show(record, output)


@contextmanager
def _store(config: Path | None) -> Iterator[KeyStore]:
    settings = settings_or_exit(config)
    try:
        yield KeyStore(settings.ledger.url)
    except (NoSuchKey, NameTaken) as error:
        refuse(str(error.args[0]), 1)
    except LedgerUnavailable as error:
        refuse(error.message, 1)


def _given(value: Any) -> Any:
    return None if value == NONE else value


def _show_secret(record: KeyRecord, secret: str, output: Format) -> None:
    if output == "json":
        write_json([{"key": secret, **_shown(record)}])
        return
    console_for_tables().print(_table([record]))
    typer.echo("The key, which is shown this once:")
    typer.echo(secret)


def _show(record: KeyRecord, output: Format) -> None:
    if output == "json":
        write_json([_shown(record)])
    else:
        console_for_tables().print(_table([record]))


def _shown(record: KeyRecord) -> dict[str, Any]:
    key, budget = record.key, record.key.budget
    moments = {"created": record.created, "expires": record.expires, "revoked": record.revoked}
    return {
        "id": key.key_id,
        "name": key.name,
        "ending": record.ending,
        "state": record.state(datetime.now(UTC)),
        "budget_usd": None if budget is None else usd_text_of(budget.pico),
        "period": None if budget is None else budget.period,
        "over": None if budget is None else budget.over,
        "rpm": key.rpm,
        "tpm": key.tpm,
        "models": None if key.models is None else sorted(key.models),
        **{name: None if at is None else iso_z(at) for name, at in moments.items()},
    }


def _table(records: Sequence[KeyRecord]) -> Table:
    table = Table()
    for name in ("name", "id", "key", "state", "budget", "rpm", "tpm", "models", "ends (UTC)"):
        table.add_column(name, overflow="fold")
    for record in records:
        one = _shown(record)
        budget = f"{one['budget_usd']}/{one['period']}, {one['over']}"
        end = one["revoked"] or one["expires"]
        table.add_row(
            plain(one["name"]),
            one["id"],
            f"…{one['ending']}",
            one["state"],
            "–" if one["budget_usd"] is None else budget,
            *("–" if one[name] is None else f"{one[name]:,}" for name in ("rpm", "tpm")),
            "all" if one["models"] is None else plain(", ".join(one["models"])),
            "–" if end is None else end[:16].replace("T", " "),
            style="" if one["state"] == "active" else "dim",
        )
    return table
