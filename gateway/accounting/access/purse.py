"""What the pipeline asks before it calls a backend for a key with a budget."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from gateway.accounting.access.budgets import Budgets, Need, Shortage
from gateway.accounting.access.ceiling import Ceiling, highest_cost
from gateway.accounting.pricing import usd_text_of
from gateway.core.access import period_end
from gateway.core.deployment import Deployment, Tier
from gateway.core.entry import LedgerEntry
from gateway.core.errors import BudgetExceeded, PriceUnknown
from gateway.core.forwarding import ForwardedRequest
from gateway.core.price import Price
from gateway.core.request import Caller, ChatRequest

#: When to ask again while calls in flight hold the rest of a budget.
ASK_AGAIN_AFTER_S = 1.0


class KeyPurse:
    """What the pipeline asks before each call; `ceilings` are keyed by deployment name."""

    def __init__(self, budgets: Budgets, ceilings: Mapping[str, Ceiling]) -> None:
        self._budgets = budgets
        self._ceilings = ceilings

    async def reserve(
        self,
        request: ChatRequest | ForwardedRequest,
        deployment: Deployment,
        caller: Caller,
        entry: LedgerEntry,
        price: Price | None,
    ) -> None:
        """Set aside the most that an attempt can cost, where its key has a budget.

        Raises BudgetExceeded, PriceUnknown, or LedgerUnavailable.
        """
        key = caller.key
        if key is None or key.budget is None or _is_free(request):
            return
        ceiling = self._ceilings.get(deployment.name) or Ceiling()
        pico = highest_cost(request, deployment, price, ceiling, entry.ts)
        if pico is None:
            raise PriceUnknown(
                f"The key '{key.name}' has a budget, and nobody knows what "
                f"{_what(request, deployment)} costs: it needs a price in the configuration.",
                param="model",
            )
        degrades = key.budget.over == "degrade"
        forced = degrades and deployment.tier is Tier.SMALL
        need = Need(entry.request_id, entry.attempt, key.key_id, pico, entry.ts, forced)
        shortage = await self._budgets.met(need)
        if shortage is not None:
            raise _exceeded(key.name, need, shortage, degrades=degrades)


def _is_free(request: ChatRequest | ForwardedRequest) -> bool:
    """What lies upstream is looked at and put there for nothing; a batch that runs there isn't."""
    return (
        isinstance(request, ForwardedRequest)
        and not request.is_metered
        and (request.method, request.endpoint) != ("POST", "/v1/batches")
    )


def _what(request: ChatRequest | ForwardedRequest, deployment: Deployment) -> str:
    if isinstance(request, ChatRequest):
        return f"a call of {deployment.name}"
    return f"a call of {request.endpoint}" + (f" with '{request.model}'" if request.model else "")


def _exceeded(name: str, need: Need, shortage: Shortage, *, degrades: bool) -> BudgetExceeded:
    budget = shortage.budget
    limit = usd_text_of(budget.pico)
    left = usd_text_of(max(0, budget.pico - shortage.spent))
    most = usd_text_of(need.pico)
    each = "in all" if budget.period == "total" else f"a {budget.period}"
    message = (
        f"The budget of the key '{name}' ({limit} USD {each}) doesn't allow this call: it may cost "
        f"up to {most} USD, and {left} USD is left"
    )
    exhausted = shortage.spent + need.pico > budget.pico
    end = period_end(budget.period, need.at)
    if not exhausted:
        held = usd_text_of(shortage.reserved)
        message += f", of which {held} USD is held for calls in flight"
    if end is not None:
        message += f"; it begins anew at {end:%Y-%m-%dT%H:%M:%SZ}"
    wait_s: float | None = ASK_AGAIN_AFTER_S
    if exhausted:
        wait_s = None if end is None else (end - datetime.now(UTC)).total_seconds()
    return BudgetExceeded(
        f"{message}. A lower max_tokens makes a call cheaper.",
        retry_after_s=wait_s,
        exhausted=exhausted,
        degrades=degrades,
    )
