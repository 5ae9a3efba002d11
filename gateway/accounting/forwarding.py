"""What a request that is passed on has used and cost, at the price of the model that it names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.accounting.catalogue import catalogue_price, provider_of
from gateway.accounting.machine import Machine
from gateway.accounting.meter import AttemptMeter, PriceCall
from gateway.core.answer import Item
from gateway.core.deployment import Deployment
from gateway.core.energy import Hardware
from gateway.core.entry import LedgerEntry
from gateway.core.forwarding import ForwardedRequest
from gateway.core.price import Price
from gateway.core.usage import Usage

#: Clients make model names up; of more than these the prices are looked up anew.
_MOST_KNOWN = 256


class ModelPrices:
    """Prices of the models that upstreams serve, whether deployed by name or not."""

    def __init__(self, base_urls: Mapping[str, str]) -> None:
        """`base_urls` are keyed by deployment name."""
        self._base_urls = dict(base_urls)
        self._known: dict[tuple[str, str], Price | None] = {}

    async def price(self, model: str, deployment: Deployment) -> Price | None:
        """The deployment's own price, or the published one of another model of its upstream."""
        if model in (deployment.name, deployment.model, *deployment.aliases):
            return deployment.price
        base_url = self._base_urls.get(deployment.name)
        if not model or base_url is None:
            return None
        key = (base_url, model)
        if key not in self._known:
            # The catalogue takes 0.3 s to load.
            found = await asyncio.to_thread(_published, base_url, model)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = found
        return self._known[key]


def _published(base_url: str, model: str) -> Price | None:
    provider = provider_of(base_url)
    return None if provider is None else catalogue_price(model, provider)


class ForwardingMeter(AttemptMeter):
    """Fills the entry of an attempt whose answer is passed on; what nobody counted stays unknown.

    A text to be spoken is the exception: it is billed by its characters where its model is.
    """

    def __init__(
        self,
        request: ForwardedRequest,
        price: Price | None,
        entry: LedgerEntry,
        price_call: PriceCall,
        hardware: Hardware | None = None,
        machine: Machine | None = None,
    ) -> None:
        """`hardware` is what answers, where that is one's own."""
        super().__init__(price, hardware, entry, price_call, machine)
        self._request = request

    def observe(self, item: Item) -> None:
        """Note one piece: the first sets the time to first token, the last usage wins."""
        entry = self._entry
        if entry.ttft_ms is None:
            entry.ttft_ms = self._elapsed_ms()
        if item.model_served is not None:
            entry.model_served = item.model_served
        if item.usage is not None:
            self._charge(item.usage)

    def _unreported(self) -> Usage | None:
        price, characters = self._price, self._request.characters
        if not characters or price is None or price.usd_per_million_characters is None:
            return None
        return Usage(0, 0, characters=characters, source="counted")
