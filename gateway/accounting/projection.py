"""What scored requests would cost at any threshold, from sums by score: exact, and without calls.

A request that stays on its tier costs what it cost; one that moves costs its tokens at today's
price there. What has no price is counted as unknown, never as free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from gateway.accounting.pricing import amount_of, pico_of
from gateway.accounting.replay import TierPrices
from gateway.core.deployment import Tier
from gateway.core.price import Price
from gateway.core.usage import Usage


@dataclass(slots=True, frozen=True)
class Amount:
    """What requests cost in whole pico-USD, and how many of them it leaves out as unknown."""

    pico: int
    unknown: int = 0


@dataclass(slots=True, frozen=True)
class Group:
    """Requests of one policy that went to one tier, with a score of `bin` hundredths.

    `kept` is what they cost there, `moved` what they would cost on the other tier.
    """

    policy: str | None
    bin: int
    went: Tier
    requests: int
    kept: Amount
    moved: Amount


@dataclass(slots=True, frozen=True)
class Saving:
    """What requests cost, beside what they would have cost on the large tier alone.

    Both amounts are of the same `compared` requests; `unknown` ones are in groups that have no
    whole price on one of the sides. `later_pico` is the part of `actual_pico` that attempts after
    the first one cost, `later_unknown` counts those that it leaves out.
    """

    compared: int
    unknown: int
    actual_pico: int
    large_pico: int
    later_pico: int = 0
    later_unknown: int = 0


def groups_of(scores: Iterable[Mapping[str, Any]], prices: TierPrices) -> list[Group]:
    """The rows of `Overview.scores`, with what they would cost on the other tier."""
    return [_group(row, prices) for row in scores]


def saving_of(groups: Iterable[Group], later: Iterable[Mapping[str, Any]] = ()) -> Saving:
    """What routing saved against the large tier alone; `later` are `Overview.later_attempts`.

    Retries and fallbacks that the large tier answered it would have had to answer anyway; what a
    cascade cost twice, and what the small tier answered in its stead, is spent and saves nothing.
    """
    compared: list[tuple[Group, Amount]] = []
    unknown = 0
    for group in groups:
        on_large = group.kept if group.went is Tier.LARGE else group.moved
        if group.kept.unknown or on_large.unknown:
            unknown += group.requests
        else:
            compared.append((group, on_large))
    again = [
        (_kept(row), Tier(row["tier"]) is Tier.LARGE and not row["escalated"]) for row in later
    ]
    later_pico = sum(amount.pico for amount, _ in again)
    return Saving(
        compared=sum(group.requests for group, _ in compared),
        unknown=unknown,
        actual_pico=sum(group.kept.pico for group, _ in compared) + later_pico,
        large_pico=sum(on_large.pico for _, on_large in compared)
        + sum(amount.pico for amount, is_inevitable in again if is_inevitable),
        later_pico=later_pico,
        later_unknown=sum(amount.unknown for amount, _ in again),
    )


def _group(row: Mapping[str, Any], prices: TierPrices) -> Group:
    went = Tier(row["tier"])
    other = Tier.SMALL if went is Tier.LARGE else Tier.LARGE
    return Group(
        policy=row["policy"],
        bin=row["bin"],
        went=went,
        requests=row["requests"],
        kept=_kept(row),
        moved=_moved(row, prices.get(other)),
    )


def _kept(row: Mapping[str, Any]) -> Amount:
    cost = row["cost_usd"]
    return Amount(0 if cost is None else pico_of(Decimal(cost)), row["unpriced"])


def _moved(row: Mapping[str, Any], price: Price | None) -> Amount:
    """Where longer prompts have other rates, those of the group's mean length."""
    prompt_tokens = row["prompt_tokens"]
    amount = None
    if price is not None:
        rates = price.for_prompt(prompt_tokens // max(row["requests"], 1))
        usage = Usage(prompt_tokens, row["completion_tokens"])
        amount = amount_of(usage, replace(rates, tiers=()))
    return Amount(0, row["requests"]) if amount is None else Amount(pico_of(amount))
