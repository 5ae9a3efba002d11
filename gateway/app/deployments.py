"""Configured deployments as values: prices, context windows and capabilities resolved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gateway.accounting.catalogue import catalogue_price, context_window, provider_of
from gateway.app.energy import hardware_of, is_own, remote_energy
from gateway.app.prices import configured_price
from gateway.backends.anthropic import REFUSED_FIELDS
from gateway.backends.local.adapters import (
    AdapterMisfit,
    adapter_folder,
    check_adapter,
    missing_of,
)
from gateway.backends.local.backend import LOCAL_CAPABILITIES
from gateway.backends.local.folder import describe, folder_of, vector_size_of
from gateway.core.deployment import ALL_CAPABILITIES, Capability, Deployment, Tier
from gateway.core.request import Wire
from gateway.settings import (
    ConfigError,
    DeploymentSettings,
    EnergySettings,
    Environment,
    Settings,
)


def deployments_of(settings: Settings, environment: Environment) -> list[Deployment]:
    """Every configured deployment, in the order of the file."""
    models_dir = environment.models_dir(settings)
    return [
        _local(entry, models_dir, settings.energy)
        if entry.backend == "local"
        else _remote(entry, environment, settings.energy)
        for entry in settings.deployments
    ]


def upstream_of(entry: DeploymentSettings) -> str | None:
    """The price catalogue's name for who answers a deployment; None for one of one's own."""
    return None if entry.base_url is None else provider_of(entry.base_url)


def check_adapters(settings: Settings, models_dir: Path) -> None:
    """Raises ConfigError for adapters that are here and don't fit the model that is here."""
    problems = []
    for entry in settings.deployments:
        base = folder_of(entry.model, models_dir) if entry.adapters else None
        for name, adapter in entry.adapters.items():
            folder = adapter_folder(adapter, models_dir)
            try:
                if base is not None and folder is not None:
                    check_adapter(name, folder, base)
            except AdapterMisfit as error:
                problems.append(f"deployments.{entry.name}.adapters.{name}: {error}")
    if problems:
        raise ConfigError("The configuration", problems)


def priced_deployment(deployments: Iterable[Deployment], tier: Tier) -> Deployment | None:
    """The one whose price stands for a tier: its first with a price, a callable one if any."""
    priced = [one for one in chatting(deployments) if one.tier is tier and one.price is not None]
    return min(priced, key=lambda one: one.unavailable is not None, default=None)


def chatting(deployments: Iterable[Deployment]) -> list[Deployment]:
    """Those that answer chats, whichever wire format they come in."""
    return [one for one in deployments if one.serves == "chat"]


def _local(entry: DeploymentSettings, models_dir: Path, energy: EnergySettings) -> Deployment:
    info = describe(entry.model, models_dir)
    missing = missing_of(entry.model, entry.adapters, models_dir)
    stated = info.context_window if info is not None else None
    embeds = entry.serves == "embeddings"
    return Deployment(
        name=entry.name,
        tier=entry.tier,
        backend=entry.backend,
        model=entry.model,
        aliases=entry.aliases,
        capabilities=LOCAL_CAPABILITIES & _allowed(entry),
        context_window=entry.context_window or stated,
        max_output_tokens=entry.max_output_tokens,
        languages=_languages(entry),
        price=configured_price(entry.name, entry.price, energy.usd_per_kwh),
        unavailable=missing,
        wires=_wires(entry),
        serves=entry.serves,
        vector_size=vector_size_of(info.folder) if embeds and info is not None else None,
        adapters=tuple(entry.adapters),
        energy=hardware_of(entry, energy),
    )


def _remote(
    entry: DeploymentSettings, environment: Environment, energy: EnergySettings
) -> Deployment:
    keyless = entry.api_key_env is not None and environment.secret(entry.api_key_env) is None
    # Of an upstream that the catalogue doesn't know, it can't know the prices either.
    provider = upstream_of(entry) if _needs_catalogue(entry) else None
    # A vendor's price holds its electricity; of own hardware it is ours to pay.
    usd_per_kwh = energy.usd_per_kwh if is_own(entry) else None
    price = configured_price(entry.name, entry.price, usd_per_kwh)
    window = entry.context_window
    if provider is not None:
        price = price or catalogue_price(entry.model, provider)
        window = window or context_window(entry.model, provider)
    return Deployment(
        name=entry.name,
        tier=entry.tier,
        backend=entry.backend,
        model=entry.model,
        aliases=entry.aliases,
        capabilities=_allowed(entry) & _CAPABILITIES.get(entry.backend, ALL_CAPABILITIES),
        context_window=window,
        max_output_tokens=entry.max_output_tokens,
        languages=_languages(entry),
        price=price,
        unavailable=f"{entry.api_key_env} is not set" if keyless else None,
        wires=_wires(entry),
        refused_fields=REFUSED_FIELDS if entry.backend == "anthropic" else frozenset(),
        serves=entry.serves,
        energy=remote_energy(entry, energy, provider),
    )


#: What a remote backend can't do, whatever stands behind it.
_CAPABILITIES = {
    "anthropic": ALL_CAPABILITIES
    - {
        Capability.AUDIO,
        Capability.JSON_OBJECT,
        Capability.LOGPROBS,
        Capability.MULTIPLE_CHOICES,
    }
}


def _wires(entry: DeploymentSettings) -> frozenset[Wire]:
    if entry.serves == "embeddings":
        return frozenset({"embeddings"})
    if entry.backend == "anthropic":
        return frozenset({"messages"})
    return frozenset({"chat", "completions"} if entry.text_completions else {"chat"})


def _needs_catalogue(entry: DeploymentSettings) -> bool:
    return entry.price is None or entry.context_window is None or not is_own(entry)


def _allowed(entry: DeploymentSettings) -> frozenset[Capability]:
    if entry.capabilities is None:
        return ALL_CAPABILITIES
    allowed = frozenset(entry.capabilities)
    # Whoever can keep to a schema can write an object.
    return allowed | {Capability.JSON_OBJECT} if Capability.JSON_SCHEMA in allowed else allowed


def _languages(entry: DeploymentSettings) -> frozenset[str] | None:
    return None if entry.languages is None else frozenset(entry.languages)
