"""What a running process can't change: such keys keep their values until a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from gateway.settings import ConfigError, DeploymentSettings, Settings

#: Sections and keys that a reload puts into effect; any other waits.
_AT_ONCE = frozenset(
    {
        *("deployments", "routing", "resilience"),
        *("ledger.keep_messages", "logging.level"),
        *("energy.usd_per_kwh", "energy.grams_co2_per_kwh", "energy.pue", "energy.watts_per_core"),
    }
)

#: What routing and accounting know of a deployment; the rest makes its backend.
_NOT_OF_THE_BACKEND = frozenset(
    {
        *("name", "tier", "aliases", "price", "power_w", "electricity_zone"),
        *("context_window", "max_output_tokens"),
        *("capabilities", "languages", "retries", "weight", "queue_timeout_s"),
    }
)


def same_backend(one: DeploymentSettings, other: DeploymentSettings) -> bool:
    """Whether a backend made for one deployment can serve the other."""
    return not _changed(one, other) - _NOT_OF_THE_BACKEND


@dataclass(slots=True, frozen=True)
class Engine:
    """A local engine that was started with the gateway: for which deployment, and where it is."""

    entry: DeploymentSettings
    socket_path: Path


@dataclass(slots=True, frozen=True)
class Reachable:
    """Settings that a running process can take on, and the keys that wait for a restart."""

    settings: Settings
    engine_sockets: Mapping[str, Path]
    waiting: Sequence[str]


def reachable(running: Settings, wanted: Settings, engines: Sequence[Engine]) -> Reachable:
    """As much of `wanted` as goes without a restart. Raises ConfigError where nothing could answer.

    A local deployment needs an engine that runs already; one without keeps what it was before.
    """
    update: dict[str, object] = {}
    waiting = []
    for section in Settings.model_fields.keys() - _AT_ONCE:
        old, new = getattr(running, section), getattr(wanted, section)
        update[section], keys = _section(section, old, new)
        waiting += keys
    deployments = []
    sockets = {}
    before = {entry.name: entry for entry in running.deployments}
    for entry in wanted.deployments:
        found, keys = _deployment(entry, before.get(entry.name), engines)
        waiting += keys
        if found is not None:
            deployments.append(found)
            if (engine := _engine_for(found, engines)) is not None:
                sockets[found.name] = engine.socket_path
    if not deployments:
        raise ConfigError("deployments", ["none of them can answer before a restart"])
    update["deployments"] = tuple(deployments)
    return Reachable(wanted.model_copy(update=update), sockets, sorted(waiting))


def changed_keys(before: Settings, after: Settings) -> list[str]:
    """The sections and keys that differ, such as `deployments` and `routing.threshold`."""
    found = []
    for section in _changed(before, after):
        old, new = getattr(before, section), getattr(after, section)
        keys = _changed(old, new) if isinstance(old, BaseModel) else None
        found += [section] if keys is None else [f"{section}.{key}" for key in keys]
    return sorted(found)


def _section(name: str, old: object, new: object) -> tuple[object, list[str]]:
    """A section with what can't change as it runs, and the keys that wait."""
    if old == new:
        return new, []
    if not isinstance(old, BaseModel) or not isinstance(new, BaseModel):
        return old, [name]
    waiting = [key for key in _changed(old, new) if f"{name}.{key}" not in _AT_ONCE]
    kept = {key: getattr(old, key) for key in waiting}
    return new.model_copy(update=kept), [f"{name}.{key}" for key in waiting]


def _deployment(
    entry: DeploymentSettings, before: DeploymentSettings | None, engines: Sequence[Engine]
) -> tuple[DeploymentSettings | None, list[str]]:
    """What a deployment can be now (None: nothing), and which keys of it wait."""
    if entry.backend != "local" or _engine_for(entry, engines) is not None:
        return entry, []
    if before is None or before.backend != "local":
        return before, [f"deployments.{entry.name}"]
    waiting = sorted(_changed(entry, before) - _NOT_OF_THE_BACKEND)
    kept = {key: getattr(before, key) for key in waiting}
    return entry.model_copy(update=kept), [f"deployments.{entry.name}.{key}" for key in waiting]


def _engine_for(entry: DeploymentSettings, engines: Sequence[Engine]) -> Engine | None:
    """The engine of that name if it fits, else any that does: a deployment may be renamed."""
    if entry.backend != "local":
        return None
    fitting = [engine for engine in engines if same_backend(engine.entry, entry)]
    return min(fitting, key=lambda engine: engine.entry.name != entry.name, default=None)


def _changed(one: BaseModel, other: BaseModel) -> set[str]:
    return {key for key in type(one).model_fields if getattr(one, key) != getattr(other, key)}
