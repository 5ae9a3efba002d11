"""`POST /v1/route`: a dry run of the decision by the code that serves live traffic."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol

import orjson
from fastapi import APIRouter, Request, Response

from gateway.api.admission import admit
from gateway.api.body import read_body
from gateway.api.exchange import exchange_of
from gateway.api.parse import caller_of, parse_chat
from gateway.core.decision import Explanation
from gateway.core.request import Caller, ChatRequest


class Explainer(Protocol):
    """What explains decisions."""

    def explain(self, request: ChatRequest, caller: Caller) -> Explanation:
        """Decide as for a live request, and say what led to it."""


class CostEstimator(Protocol):
    """What says beforehand what each deployment would charge."""

    def __call__(self, request: ChatRequest) -> Sequence[tuple[str, Decimal | None]]:
        """Deployment names with the estimated USD, None where unpriced."""


def route_routes(
    explainer: Explainer, estimate_costs: CostEstimator, body_limit_bytes: int
) -> APIRouter:
    """The endpoint over a router and a cost estimator."""
    router = APIRouter(tags=["routing"])

    @router.post("/v1/route")
    async def route(request: Request) -> Response:
        """Explain where a chat request would go; no backend is called."""
        body = await read_body(request.scope, request.receive, body_limit_bytes)
        chat = parse_chat(body)
        exchange = exchange_of(request.scope)
        caller = caller_of(request.scope, exchange)
        await admit(exchange, None)
        explanation = explainer.explain(chat, caller)
        return Response(
            orjson.dumps(explanation_object(explanation, estimate_costs(chat))),
            media_type="application/json",
        )

    return router


def explanation_object(
    explanation: Explanation, costs: Sequence[tuple[str, Decimal | None]]
) -> dict[str, Any]:
    """The explanation as the wire object of `/v1/route`; amounts are exact decimal strings."""
    decision = explanation.decision
    cascade = decision.cascade
    return {
        "tier": decision.tier.value,
        "score": decision.score,
        "threshold": decision.threshold,
        "deployment": decision.deployment.name,
        "reason": decision.reason,
        "policy": decision.policy,
        "flip_threshold": decision.score,
        "margin": decision.margin,
        "cascade": None
        if cascade is None
        else {"hold_tokens": cascade.hold_tokens, "min_confidence": cascade.min_confidence},
        "router": decision.router_version,
        "rules": list(decision.rules),
        "runner_up": None if decision.runner_up is None else decision.runner_up.name,
        "contributions": [
            {"feature": part.feature, "value": part.value, "effect": part.effect}
            for part in explanation.contributions
        ],
        "excluded": [
            {"deployment": out.deployment.name, "reason": out.reason, "detail": out.detail}
            for out in decision.excluded
        ],
        "costs": [
            {"deployment": name, "estimated_usd": None if usd is None else format(usd, "f")}
            for name, usd in costs
        ],
    }
