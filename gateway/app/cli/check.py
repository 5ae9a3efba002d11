"""`slm-gateway check`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from gateway.app.cli.options import ConfigFile, exit_if_refused, refuse, settings_or_exit
from gateway.app.compose import Gateway, compose
from gateway.app.loopback import is_loopback
from gateway.core.deployment import Deployment
from gateway.core.price import Price
from gateway.settings import Environment


def check(config: ConfigFile = None) -> None:
    """Validate the configuration and print the routes that it resolves to."""
    settings = settings_or_exit(config)
    with exit_if_refused():
        gateway = compose(settings, Environment.of_process(), {})
    console = Console()
    console.print(_deployments_table(gateway.deployments))
    console.print(_policies_table(gateway))
    for note in gateway.startup_notes():
        console.print(f"[yellow]note[/] {note}")
    keys = len(gateway.client_keys)
    if not keys and not is_loopback(settings.server.host):
        refuse(
            f"{settings.auth.api_keys_env} is not set: the host {settings.server.host} is refused."
        )
    who = f"{keys} client key(s)" if keys else "no client keys: this machine only"
    console.print(f"[green]ok[/] {who}; ledger {_without_password(settings.ledger.url)}")


def _without_password(url: str) -> str:
    return re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", url)


def _deployments_table(deployments: Iterable[Deployment]) -> Table:
    table = Table("deployment", "tier", "backend", "model", "context", "price", "state")
    for one in deployments:
        window = "unknown" if one.context_window is None else f"{one.context_window:,}"
        tier = one.tier.value if one.serves == "chat" else f"{one.tier}\n{one.serves}"
        state = f"[yellow]{one.unavailable}[/]" if one.unavailable else "[green]usable[/]"
        table.add_row(
            *(one.name, tier, one.backend, one.model),
            *(window, _price(one.price), state),
        )
    return table


def _price(price: Price | None) -> str:
    if price is None:
        return "[yellow]unpriced[/]"
    energy = "" if price.usd_per_kwh is None else f" + ${price.usd_per_kwh}/kWh"
    if price.usd_per_hour is not None:
        return f"${price.usd_per_hour}/h{energy}\n{price.price_id}"
    output = price.usd_per_million_output
    rates = f"${price.usd_per_million_input} in, ${0 if output is None else output} out / 1M"
    return f"{rates}{energy}\n{price.price_id}"


def _policies_table(gateway: Gateway) -> Table:
    routing = gateway.settings.routing
    table = Table("model name", "threshold", "from", "safe side", "cascade")
    for name, policy in gateway.router.policies.items():
        names = f"auto:{name}" + (", auto" if name == routing.default_policy else "")
        cascade = policy.cascade
        watched = (
            f"{cascade.hold_tokens} tokens, confidence ≥ {cascade.min_confidence:.4g}"
            if cascade is not None
            else "–"
        )
        threshold = f"{policy.threshold:.4g}"
        table.add_row(names, threshold, policy.origin, policy.safe_side.value, watched)
    return table
