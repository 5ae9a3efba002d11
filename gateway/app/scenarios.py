"""What routing saved, for the command line and for `GET /v1/costs`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Unpack

from gateway.accounting.filters import Filters
from gateway.accounting.pricing import usd_text
from gateway.accounting.query import LedgerReader
from gateway.accounting.scenario import Ratio
from gateway.accounting.whatif import Interval, Scenario, WhatIf, what_ifs
from gateway.app.tier_prices import tier_prices
from gateway.core.deployment import Deployment


def weighed(
    reader: LedgerReader,
    deployments: Sequence[Deployment],
    usd_per_hour: Decimal | None,
    *kinds: Scenario,
    **filters: Unpack[Filters],
) -> list[WhatIf]:
    """Scenarios at the prices of the deployments. Raises LedgerUnavailable."""
    prices = tier_prices(deployments, reader)
    return what_ifs(reader, kinds, prices, usd_per_hour, **filters)


def what_if_record(outcome: WhatIf) -> dict[str, Any]:
    """A scenario for programs: amounts are exact decimal texts, null where unknown."""
    return {
        "what_if": outcome.kind,
        "requests": outcome.requests,
        "cost_usd": usd_text(outcome.usd),
        **_ends("cost_usd", outcome.interval),
        "unknown": outcome.unknown,
        "actual_cost_usd": usd_text(outcome.actual_usd),
        "unpriced": outcome.unpriced,
        "router_cost_usd": usd_text(outcome.router_usd),
        "saved_usd": usd_text(outcome.saved_usd),
        **_ends("saved_usd", outcome.saved_interval),
        "saved_share": outcome.saved_share,
        "routed": outcome.routed,
        "large_share": outcome.large_share,
        "expected_shortfall": outcome.shortfall,
        "actual_expected_shortfall": outcome.actual_shortfall,
        **_ratio("prompt_tokens_large_per_small", outcome.prompt_ratio),
        **_ratio("completion_tokens_large_per_small", outcome.answer_ratio),
    }


def _ends(name: str, interval: Interval | None) -> dict[str, str | None]:
    return {
        f"{name}_low": None if interval is None else usd_text(interval.low),
        f"{name}_high": None if interval is None else usd_text(interval.high),
    }


def _ratio(name: str, ratio: Ratio) -> dict[str, Any]:
    return {name: float(ratio.value), f"{name}_learnt_from": ratio.requests}
