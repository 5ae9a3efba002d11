"""What belongs to virtual keys in a running gateway: their book, budgets, rates and alerts."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.accounting.access.alerts import Alerts
from gateway.accounting.access.book import KeyBook
from gateway.accounting.access.budgets import Budgets
from gateway.accounting.access.ceiling import Ceiling
from gateway.accounting.access.purse import KeyPurse
from gateway.accounting.access.rates import RateLimits
from gateway.core.errors import LedgerUnavailable
from gateway.settings import ConfigError, Environment, Settings


@dataclass(slots=True)
class Access:
    """Parts that outlive a change of the configuration."""

    book: KeyBook
    budgets: Budgets
    rates: RateLimits
    alerts: Alerts | None

    async def start(self) -> None:
        """Read the keys, if they can be read, and begin to follow them."""
        with contextlib.suppress(LedgerUnavailable):  # told by the thread that goes on trying
            await asyncio.to_thread(self.book.read)
        self.book.start()
        self.budgets.start()
        if self.alerts is not None:
            self.alerts.start()

    async def stop(self) -> None:
        """End."""
        await self.rates.close()
        parts = (self.alerts, self.budgets, self.book)
        for part in parts:
            if part is not None:
                await asyncio.to_thread(part.stop)


def access_of(settings: Settings, environment: Environment) -> Access:
    """The parts; nothing is opened before `start`. Raises ConfigError."""
    url = settings.ledger.url
    redis_url = environment.redis_url(settings)
    if redis_url is not None and importlib.util.find_spec("redis") is None:
        problem = f"{settings.redis.url_env} is set: pip install 'slm-gateway[redis]' first"
        raise ConfigError("the environment", [problem])
    webhook_url = environment.secret(settings.alerts.webhook_url_env)
    if webhook_url is not None and not webhook_url.startswith(("http://", "https://")):
        problem = f"{settings.alerts.webhook_url_env} must begin with http:// or https://"
        raise ConfigError("the environment", [problem])
    return Access(
        book=KeyBook(url, default_rpm=settings.keys.rpm, default_tpm=settings.keys.tpm),
        budgets=Budgets(url, lease_s=settings.keys.lease_s),
        rates=RateLimits(redis_url, settings.redis.prefix),
        alerts=None if webhook_url is None else Alerts(url, webhook_url, settings.alerts.at),
    )


def purse_of(settings: Settings, access: Access) -> KeyPurse:
    """What pays for calls of these deployments."""
    return KeyPurse(access.budgets, _ceilings(settings))


def _ceilings(settings: Settings) -> Mapping[str, Ceiling]:
    return {
        entry.name: Ceiling(
            output_tokens=entry.default_max_tokens
            if entry.backend == "anthropic"
            else entry.max_output_tokens,
            compute_s=entry.total_timeout_s,
        )
        for entry in settings.deployments
    }
