"""The price that stands for a tier where requests are imagined on it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from gateway.accounting.history import average_output_price
from gateway.accounting.query import LedgerReader
from gateway.app.deployments import priced_deployment
from gateway.app.estimates import is_timed
from gateway.core.deployment import Deployment, Tier
from gateway.core.price import Price

#: Begins the id of a price that was averaged over the ledger's calls to a deployment.
AVERAGE = "ledger-average:"


def tier_prices(
    deployments: Sequence[Deployment], reader: LedgerReader
) -> dict[Tier, Price | None]:
    """By tier, the price of its first priced deployment, a callable one if any.

    Of one by the hour, or with electricity, what its output tokens cost on average: the log of a
    call elsewhere doesn't tell how long this deployment would have computed. Raises
    LedgerUnavailable.
    """
    return {tier: _price_a_token(priced_deployment(deployments, tier), reader) for tier in Tier}


def _price_a_token(deployment: Deployment | None, reader: LedgerReader) -> Price | None:
    price = None if deployment is None else deployment.price
    if deployment is None or price is None or not is_timed(price):
        return price
    average = average_output_price(reader, deployment.name)
    if average is None:
        return price
    return Price(
        price_id=f"{AVERAGE}{deployment.name}",
        usd_per_million_input=Decimal(0),
        usd_per_million_output=average,
    )
