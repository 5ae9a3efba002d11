"""The environment: the only place that reads `os.environ`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from gateway.settings.model import Settings


@dataclass(slots=True, frozen=True)
class Environment:
    """Secrets and machine-specific places. Never printed: `repr` hides the values."""

    variables: Mapping[str, str] = field(repr=False)

    @classmethod
    def of_process(cls) -> Environment:
        """The environment that this process was started with."""
        return cls(variables=dict(os.environ))

    def secret(self, name: str) -> str | None:
        """The value of a variable, None when it is unset or blank."""
        return self.variables.get(name, "").strip() or None

    def client_keys(self, settings: Settings) -> tuple[str, ...]:
        """The keys that clients may use; empty when none are set."""
        listed = self.variables.get(settings.auth.api_keys_env, "")
        return tuple(key for key in (part.strip() for part in listed.split(",")) if key)

    def redis_url(self, settings: Settings) -> str | None:
        """The Redis that replicas share; None without one."""
        return self.secret(settings.redis.url_env)

    def models_dir(self, settings: Settings) -> Path:
        """Where fetched models are kept."""
        if settings.models.dir is not None:
            return settings.models.dir.expanduser()
        return platformdirs.user_cache_path("slm-gateway") / "models"

    def spool_dir(self, settings: Settings) -> Path | None:
        """Where ledger rows wait for the database; None means beside the SQLite file."""
        if settings.ledger.spool_dir is not None:
            return settings.ledger.spool_dir.expanduser()
        if settings.ledger.url.startswith("sqlite"):
            return None
        return platformdirs.user_state_path("slm-gateway") / "spool"
