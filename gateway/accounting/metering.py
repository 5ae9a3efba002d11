"""Which meter fills the entry of an attempt."""

from __future__ import annotations

from gateway.accounting.forwarding import ForwardingMeter
from gateway.accounting.machine import Machine
from gateway.accounting.meter import AttemptMeter, Meter, PriceCall
from gateway.core.deployment import Deployment
from gateway.core.energy import Hardware
from gateway.core.entry import LedgerEntry
from gateway.core.forwarding import ForwardedRequest
from gateway.core.price import Price
from gateway.core.request import ChatRequest


def meter_of(
    request: ChatRequest | ForwardedRequest,
    deployment: Deployment,
    model_price: Price | None,
    entry: LedgerEntry,
    price_call: PriceCall,
    machine: Machine,
) -> AttemptMeter:
    """`model_price` is that of the model that a request names which is passed on.

    `machine` is what the calls to the deployment share.
    """
    if isinstance(request, ChatRequest):
        return Meter(request, deployment, entry, price_call, machine)
    hardware = deployment.energy if isinstance(deployment.energy, Hardware) else None
    return ForwardingMeter(request, model_price, entry, price_call, hardware, machine)
