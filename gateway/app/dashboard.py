"""What the dashboard shows, put together from the live gateway and the ledger's roll-ups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, Protocol

import orjson

from gateway import __version__
from gateway.accounting.averages import average_usd_per_million_output
from gateway.accounting.overview import Overview
from gateway.accounting.pricing import usd_text_of
from gateway.accounting.projection import Amount, Group, Saving, groups_of, saving_of
from gateway.accounting.query import LedgerReader
from gateway.accounting.recent import attempts_of, latest_requests
from gateway.api.dashboard.routes import Span
from gateway.app.deployments import priced_deployment
from gateway.app.estimates import is_timed
from gateway.app.reload import LiveGateway
from gateway.core.deployment import Tier
from gateway.core.price import Price

LATEST = 50


class Budgets(Protocol):
    """What reads the budgets of virtual keys."""

    def budgets(self) -> Sequence[Mapping[str, Any]]:
        """One object a key that has a budget. Blocks."""


@dataclass(slots=True, frozen=True)
class _Interval:
    """Whole hours or days in UTC, up to the end of the current one."""

    since: datetime
    until: datetime
    step: Literal["hour", "day"]


_DAYS: Mapping[Span, int] = {"7d": 7, "30d": 30, "90d": 90}


def interval_of(span: Span, now: datetime) -> _Interval:
    """The hours or days that a span covers, the current one among them."""
    if span == "24h":
        until = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        return _Interval(until - timedelta(hours=24), until, "hour")
    until = datetime.combine(now.date(), time(), UTC) + timedelta(days=1)
    return _Interval(until - timedelta(days=_DAYS[span]), until, "day")


class Dashboard:
    """Reads what the page shows; every method blocks and raises LedgerUnavailable."""

    def __init__(self, live: LiveGateway, reader: LedgerReader, budgets: Budgets | None) -> None:
        self._live = live
        self._reader = reader
        self._overview = Overview(reader)
        self._budgets = budgets

    def figures(self, span: Span) -> bytes:
        """Everything but the latest requests, as a JSON object; amounts are exact decimals."""
        interval = interval_of(span, datetime.now(UTC))
        since, until = interval.since, interval.until
        prices = {tier: self._price(tier) for tier in Tier}
        groups = groups_of(self._overview.scores(since, until), prices)
        later = self._overview.later_attempts(since, until)
        return orjson.dumps(
            {
                "version": __version__,
                "span": span,
                "since": since,
                "until": until,
                "step": interval.step,
                "spend": self._overview.spend(since, until, interval.step),
                "latency": self._overview.latency(since, until),
                "policies": self._policies(groups),
                "default_policy": self._live.gateway.settings.routing.default_policy,
                "saving": _shown_saving(saving_of(groups, later)),
                "prices": {tier.value: price and price.price_id for tier, price in prices.items()},
                "budgets": None if self._budgets is None else self._budgets.budgets(),
                "models": [one.id for one in self._live.models() if one.serves is None],
            }
        )

    def latest(self) -> bytes:
        """The latest requests as a JSON array, the newest first."""
        return orjson.dumps(latest_requests(self._reader, LATEST))

    def attempts(self, request_id: str) -> bytes:
        """The rows of one request as a JSON array; empty where there is none such."""
        return orjson.dumps(attempts_of(self._reader, request_id))

    def _policies(self, groups: Sequence[Group]) -> list[dict[str, Any]]:
        """Every policy that is configured, then those that only the ledger knows."""
        known = self._live.gateway.router.policies
        past = {one.policy for one in groups if one.policy is not None and one.policy not in known}
        return [
            {
                "name": name,
                "threshold": known[name].threshold if name in known else None,
                "origin": known[name].origin if name in known else None,
                "groups": [_shown_group(one) for one in groups if one.policy == name],
            }
            for name in (*known, *sorted(past))
        ]

    def _price(self, tier: Tier) -> Price | None:
        """A tier's price by the token: what depends on time is averaged over output tokens."""
        deployment = priced_deployment(self._live.gateway.deployments, tier)
        price = None
        if deployment is not None and deployment.price is not None:
            price = deployment.price.at(datetime.now(UTC))
        if deployment is None or price is None or not is_timed(price):
            return price
        average = average_usd_per_million_output(self._reader, deployment.name)
        if average is None:
            return None
        return Price(
            price_id=f"ledger-average:{deployment.name}",
            usd_per_million_input=Decimal(0),
            usd_per_million_output=average,
        )


def _shown_group(group: Group) -> dict[str, Any]:
    return {
        "bin": group.bin,
        "went": group.went.value,
        "requests": group.requests,
        "kept": _shown_amount(group.kept),
        "moved": _shown_amount(group.moved),
    }


def _shown_amount(amount: Amount) -> dict[str, Any]:
    """Whole pico-USD in a text: a page can add them up without rounding."""
    return {"pico": str(amount.pico), "unknown": amount.unknown}


def _shown_saving(saving: Saving) -> dict[str, Any]:
    saved = saving.large_pico - saving.actual_pico
    known = saving.compared > 0
    return {
        "compared": saving.compared,
        "unknown": saving.unknown,
        "later_usd": usd_text_of(saving.later_pico),
        "later_unknown": saving.later_unknown,
        "actual_usd": usd_text_of(saving.actual_pico) if known else None,
        "all_large_usd": usd_text_of(saving.large_pico) if known else None,
        "saved_usd": usd_text_of(saved) if known else None,
        "saved_share": saved / saving.large_pico if known and saving.large_pico else None,
    }
