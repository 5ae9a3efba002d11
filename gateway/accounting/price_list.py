"""What models cost, and what every source says that knows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from gateway.accounting.catalogue import catalogue_price, context_window
from gateway.accounting.known_models import KnownModel, known_model
from gateway.core.deployment import Deployment
from gateway.core.price import Price


@dataclass(slots=True, frozen=True)
class Quote:
    """One source's word: `config:NAME`, or an entry of the catalogue."""

    source: str
    price: Price | None
    context_window: int | None = None

    @property
    def rates(self) -> tuple[Decimal | None, Decimal | None]:
        """USD per million tokens in and out, by which sources are compared."""
        if self.price is None:
            return None, None
        return self.price.usd_per_million_input, self.price.usd_per_million_output


@dataclass(slots=True, frozen=True)
class PricedModel:
    """A deployment or a known model, with the quote that counts and the others.

    `deployment` is the name that it is served under here, if any.
    """

    name: str
    deployment: str | None
    maker: str | None
    licence: str | None
    context_window: int | None
    quote: Quote
    others: tuple[Quote, ...]

    @property
    def differing(self) -> tuple[Quote, ...]:
        """The other quotes with other rates; a price that nobody has contradicts nothing."""
        if self.quote.price is None:
            return ()
        return tuple(one for one in self.others if one.price and one.rates != self.quote.rates)

    @property
    def other_windows(self) -> tuple[Quote, ...]:
        """The quotes with another context window."""
        known = self.context_window
        quotes = (self.quote, *self.others)
        return tuple(
            one for one in quotes if known and one.context_window and one.context_window != known
        )


def priced_deployment_of(deployment: Deployment, provider: str | None) -> PricedModel:
    """A deployment at its price; `provider` is the catalogue's name for its upstream, if any."""
    model = known_model(deployment.model)
    price = deployment.price
    source = "none" if price is None else price.price_id
    quote = Quote(source, price, deployment.context_window)
    entries = [] if provider is None else [f"{provider}/{deployment.model}"]
    return PricedModel(
        name=deployment.model,
        deployment=deployment.name,
        maker=None if model is None else model.maker,
        licence=None if model is None else model.licence,
        context_window=deployment.context_window or (model.context_window if model else None),
        quote=quote,
        others=_others(quote, [*entries, *(model.listed if model else ())]),
    )


def priced_model(model: KnownModel) -> PricedModel:
    """A known model at the first price that is listed for it."""
    quotes = quotes_of(model.listed)
    quote = quotes[0] if quotes else Quote("none", None)
    return PricedModel(
        name=model.name,
        deployment=None,
        maker=model.maker,
        licence=model.licence,
        context_window=model.context_window,
        quote=quote,
        others=tuple(quotes[1:]),
    )


def quotes_of(entries: Iterable[str]) -> list[Quote]:
    """What the catalogue's entries (`PROVIDER/MODEL`) say; unknown ones are left out."""
    quotes = []
    for entry in dict.fromkeys(entries):
        provider, _, model = entry.partition("/")
        price = catalogue_price(model, provider)
        if price is not None:
            quotes.append(Quote(price.price_id, price, context_window(model, provider)))
    return quotes


def _others(quote: Quote, entries: Sequence[str]) -> tuple[Quote, ...]:
    unique = {one.source: one for one in quotes_of(entries)}
    unique.pop(quote.source, None)
    return tuple(unique.values())
