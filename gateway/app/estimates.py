"""What a request would cost where, before it is answered: prices, and what calls cost so far."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from gateway.accounting.pricing import cost_of
from gateway.core.deployment import Deployment, Tier
from gateway.core.entry import LedgerEntry
from gateway.core.forwarding import PASSTHROUGH
from gateway.core.price import Price
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage, estimate_tokens

#: How much of the running averages a new call replaces.
_WEIGHT = 0.05
_MILLION = Decimal(1_000_000)


class Estimates:
    """Estimated costs by deployment. Learns answer lengths, and the cost of hourly prices."""

    def __init__(self, deployments: Sequence[Deployment], output_tokens: int) -> None:
        """`output_tokens` are expected of an answer until answers have been seen."""
        self._deployments = {one.name: one for one in deployments}
        self._output_tokens = dict.fromkeys(self._deployments, float(output_tokens))
        self._usd_per_token: dict[str, float] = {}

    def learn_from(self, earlier: Estimates) -> None:
        """Take over what is known of deployments that are still the same."""
        for name, one in self._deployments.items():
            before = earlier._deployments.get(name)
            if before is None or (before.backend, before.model) != (one.backend, one.model):
                continue
            self._output_tokens[name] = earlier._output_tokens[name]
            if name in earlier._usd_per_token and before.price == one.price:
                self._usd_per_token[name] = earlier._usd_per_token[name]

    def usd(self, request: ChatRequest, deployment: Deployment) -> Decimal | None:
        """What the deployment would charge; None where that can't be known yet."""
        known = request.prompt_tokens
        prompt_tokens = estimate_tokens(request.messages) if known is None else known
        completion_tokens = round(self._output_tokens[deployment.name])
        if request.max_tokens is not None:
            completion_tokens = min(completion_tokens, request.max_tokens)
        per_token = self._usd_per_token.get(deployment.name)
        if per_token is not None:
            return Decimal(str(round(per_token * (prompt_tokens + completion_tokens), 12)))
        usage = Usage(prompt_tokens, completion_tokens, source="estimated")
        price = deployment.price
        return cost_of(usage, None if price is None else price.at(datetime.now(UTC))).usd

    def extra_usd(self, request: ChatRequest) -> Decimal | None:
        """What the large tier costs more than the small one; None where unknown."""
        usd = self.tier_usd(request)
        return None if usd is None else usd[1] - usd[0]

    def tier_usd(self, request: ChatRequest) -> tuple[Decimal, Decimal] | None:
        """What the first usable small deployment and the first large one cost.

        A small one without a known cost counts as free; None where the large one's is unknown.
        """
        large, small = self._first(Tier.LARGE), self._first(Tier.SMALL)
        dear = None if large is None else self.usd(request, large)
        if dear is None:
            return None
        cheap = None if small is None else self.usd(request, small)
        return cheap or Decimal(0), dear

    def lost_cache_usd(self, request: ChatRequest, deployment: Deployment) -> Decimal | None:
        """What the deployment's prompt cache would save on this request; None where unknown."""
        price = deployment.price
        if price is None:
            return None
        full, cached = price.usd_per_million_input, price.usd_per_million_cached_input
        if full is None or cached is None:
            return Decimal(0)
        return estimate_tokens(request.messages) * max(Decimal(0), full - cached) / _MILLION

    def observe(self, entry: LedgerEntry) -> None:
        """Learn from a finished call."""
        usage = entry.usage
        if usage is None or entry.outcome != "ok" or entry.deployment not in self._deployments:
            return
        if entry.reason == PASSTHROUGH:  # an image's tokens say nothing of a chat's
            return
        average = self._output_tokens[entry.deployment]
        new = usage.completion_tokens
        self._output_tokens[entry.deployment] = average + _WEIGHT * (new - average)
        price = self._deployments[entry.deployment].price
        tokens = usage.prompt_tokens + usage.completion_tokens
        if price is not None and is_timed(price) and entry.cost.usd and tokens:
            seen = float(entry.cost.usd) / tokens
            known = self._usd_per_token.setdefault(entry.deployment, seen)
            self._usd_per_token[entry.deployment] = known + _WEIGHT * (seen - known)

    def _first(self, tier: Tier) -> Deployment | None:
        usable = (d for d in self._deployments.values() if d.tier is tier and not d.unavailable)
        return next(usable, None)


def is_timed(price: Price) -> bool:
    """Whether a call's cost can't be told from its tokens."""
    return price.usd_per_hour is not None or price.usd_per_kwh is not None
