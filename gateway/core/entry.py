"""One row of the ledger: one attempt at a backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from gateway.core.certainty import Certainty
from gateway.core.price import UNPRICED, Cost
from gateway.core.usage import Usage

Outcome = Literal["ok", "upstream_error", "timeout", "cancelled", "interrupted"]


@dataclass(slots=True)
class LedgerEntry:
    """What the ledger keeps of one attempt. No key: `key_id` is a digest.

    `ts` is when the request arrived (UTC). `latency_ms` runs from the call to its end, `ttft_ms`
    to its first item, `overhead_ms` is the gateway's own time before the call. `confidence` (0..1)
    is how sure a small model was of its first tokens, where a cascade watched it, `certainty` of
    the whole answer. `shadow_score` is what the router `shadow_version` would have said; it decided
    nothing. `messages` (JSON text) are
    set only where the configuration keeps them, apart from the row; `earlier_usd` is what the
    request's earlier attempts cost, and stands in their own rows. `energy_wh`, `co2_g` and
    `energy_source` are those of `core.energy.Energy`.
    """

    request_id: str
    attempt: int
    ts: datetime
    endpoint: str
    model_requested: str
    deployment: str
    tier: str
    reason: str
    router_version: str
    stream: bool
    key_id: str | None = None
    session: str | None = None
    client_request_id: str | None = None
    model_served: str | None = None
    score: float | None = None
    threshold: float | None = None
    policy: str | None = None
    propensity: float = 1.0
    confidence: float | None = None
    certainty: Certainty | None = None
    shadow_version: str | None = None
    shadow_score: float | None = None
    outcome: Outcome = "cancelled"
    status: int = 0
    usage: Usage | None = None
    cost: Cost = UNPRICED
    energy_wh: float | None = None
    energy_source: str | None = None
    co2_g: float | None = None
    latency_ms: float = 0.0
    ttft_ms: float | None = None
    overhead_ms: float = 0.0
    tags: Mapping[str, str] = field(default_factory=dict)
    messages: str | None = None
    earlier_usd: Decimal = Decimal(0)
