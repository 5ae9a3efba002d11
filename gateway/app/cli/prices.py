"""`slm-gateway prices`: what each deployment and known model costs, and who says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from gateway.accounting.filters import Filters
from gateway.accounting.known_models import known_model, known_models
from gateway.accounting.price_list import PricedModel, priced_deployment_of, priced_model
from gateway.accounting.query import LedgerReader
from gateway.accounting.repricing import reprice
from gateway.app.cli.costs import When
from gateway.app.cli.figures import ReportFormat
from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit
from gateway.app.cli.prices_report import write_prices, write_repriced
from gateway.app.deployments import deployments_of, upstream_of
from gateway.core.errors import LedgerUnavailable
from gateway.settings import Environment, Settings

#: At which prices rows are priced again: those of their own time, or those of now.
At = Literal["dated", "today"]


def prices(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Models by name, deployed here or not; without any every deployment."),
    ] = None,
    config: ConfigFile = None,
    everything: Annotated[  # noqa: FBT002 (typer)
        bool, typer.Option("--all", help="Every known model, and all that their makers sell.")
    ] = False,
    output: Annotated[
        ReportFormat, typer.Option("--format", help="For people or programs.")
    ] = "table",
    repriced: Annotated[
        At | None,
        typer.Option("--reprice", help="What the ledger's rows would cost then; nothing changes."),
    ] = None,
    since: When = None,
    until: When = None,
) -> None:
    """List what deployments and models cost, and where each figure comes from."""
    settings = settings_or_exit(config)
    if repriced is not None:
        _reprice(settings, repriced, Filters(since=since, until=until), output)
        return
    if models:
        found = [_named(name, settings) for name in models]
    elif everything:
        found = [priced_model(one) for one in known_models()]
    else:
        found = _deployed(settings)
    write_prices(found, output)


def _deployed(settings: Settings) -> list[PricedModel]:
    deployments = deployments_of(settings, Environment.of_process())
    upstreams = {entry.name: upstream_of(entry) for entry in settings.deployments}
    return [priced_deployment_of(one, upstreams[one.name]) for one in deployments]


def _named(name: str, settings: Settings) -> PricedModel:
    deployed = next((one for one in _deployed(settings) if one.deployment == name), None)
    model = known_model(name)
    if deployed is None and model is None:
        refuse(
            f"No deployment and no known model is called {name!r}: "
            "`slm-gateway prices --all` lists them."
        )
    return deployed or priced_model(model)  # type: ignore[arg-type]  # one of both is there


def _reprice(settings: Settings, at: At, filters: Filters, output: ReportFormat) -> None:
    deployments = deployments_of(settings, Environment.of_process())
    known = {one.name: one.price for one in deployments}
    moment = datetime.now(UTC) if at == "today" else None
    reader = LedgerReader(settings.ledger.url)
    try:
        groups = reprice(reader, known.get, moment, **filters)
    except LedgerUnavailable as error:
        refuse(error.message, 1)
    write_repriced(groups, at, output)
