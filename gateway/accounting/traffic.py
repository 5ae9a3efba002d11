"""The ledger's chats, added up in the database so that they can be priced on another tier.

A million rows become some ten thousand parts: each the sum of requests that would be priced alike,
in one of up to 256 blocks. A request's block is the end of its id, which is random, so that blocks
are samples of the traffic, and resampling them tells how far a figure may be off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import time
from decimal import Decimal
from typing import Any, Unpack

import sqlalchemy as sa

from gateway.accounting.database import PICO_A_MICRO, SPECIAL_TOKENS, ledger
from gateway.accounting.filters import Filters, row_conditions
from gateway.accounting.history import ROUTED_REASONS
from gateway.accounting.query import LedgerReader
from gateway.accounting.row import usage_in
from gateway.core.deployment import Tier
from gateway.core.price import Price
from gateway.core.request import ROUTED_ENDPOINTS
from gateway.core.usage import Usage

#: Parts of the score between which the length of answers is compared.
STRATA = 10


@dataclass(slots=True, frozen=True)
class Part:
    """Requests that are alike: their sums.

    `answer_tier` is that of the last attempt that used tokens; `answered` of the `requests` have
    one, whose tokens are in `usage`. `is_routed` is whether their score decided, `score` its sum.
    `answer_pico` is what the answers cost, None where they are unpriced; `spent_pico` is what all
    attempts cost, the `priced` ones, without the `unpriced` ones. `stratum` is the tenth that the
    scores are in, where answers came whole from where they were sent first. `prices` are the ones
    in force, by tier, for prompts of this length.
    """

    block: str
    answer_tier: Tier
    is_routed: bool
    stratum: int | None
    requests: int
    answered: int
    usage: Usage
    answer_pico: int | None
    spent_pico: int
    priced: int
    unpriced: int
    overhead_ms: float
    score: float
    prices: dict[Tier, Price | None]


@dataclass(slots=True, frozen=True)
class TokenPair:
    """In one block, the prompts that both tiers have read, and how long each found them."""

    block: str
    requests: int
    small_tokens: int
    large_tokens: int


def pairs_of(reader: LedgerReader, **filters: Unpack[Filters]) -> list[TokenPair]:
    """What both tiers counted of the same prompts, as cascades and fallbacks leave it.

    Raises LedgerUnavailable when the database can't be read.
    """
    with reader.connection() as connection:
        if connection is None:
            return []
        return [
            TokenPair(one.block, one.requests, int(one.small_tokens), int(one.large_tokens))
            for one in connection.execute(_pairs(filters))
        ]


def parts_of(
    reader: LedgerReader,
    prices: dict[Tier, Price | None],
    prompt_ratios: dict[Tier, Decimal],
    **filters: Unpack[Filters],
) -> list[Part]:
    """The chats in parts. `prompt_ratios` are by how much prompts grow on the way to a tier.

    Raises LedgerUnavailable when the database can't be read.
    """
    segments = {tier: _Segments(prices.get(tier), prompt_ratios[tier]) for tier in Tier}
    with reader.connection() as connection:
        if connection is None:
            return []
        return [
            _part(one, segments)
            for select in (_of_one_attempt, _of_several_attempts)
            for one in connection.execute(select(filters, segments))
        ]


class _Segments:
    """A price as the flat ones that it consists of, and the SQL that tells which one counts."""

    def __init__(self, price: Price | None, prompt_ratio: Decimal) -> None:
        self.prices: list[Price | None] = []
        self._whens: list[tuple[sa.ColumnElement[bool], int]] = []
        moment = sa.cast(ledger.c.ts, sa.Text)
        day = sa.func.substr(moment, 1, 10, type_=sa.Text)
        hour = sa.func.substr(moment, 12, 8, type_=sa.Text)
        for since, begins, at in _times(price):
            from_then = [] if since is None else [day >= since, hour >= f"{begins:%H:%M:%S}"]
            for above, flat in _lengths(at):
                longer = [] if above is None else [_longer(above, prompt_ratio)]
                self._whens.append((sa.and_(sa.true(), *from_then, *longer), len(self.prices)))
                bare = None if flat is None else replace(flat, tiers=(), schedule=())
                self.prices.append(bare)

    @property
    def number(self) -> sa.ColumnElement[int]:
        """Which of `prices` a row's answer would have."""
        if len(self.prices) == 1:
            return sa.literal(0)
        # The latest, and the longest, that a row reaches.
        return sa.case(*reversed(self._whens), else_=0)


def _times(price: Price | None) -> Iterator[tuple[str | None, time, Price | None]]:
    if price is None or not price.schedule:
        yield None, time(), price
        return
    for period in price.schedule:
        for begins, at in period.prices:
            yield period.since.isoformat(), begins, at


def _lengths(price: Price | None) -> Iterator[tuple[int | None, Price | None]]:
    yield None, price
    for tier in () if price is None else price.tiers:
        yield tier.above_tokens, tier.price


def _longer(above_tokens: int, prompt_ratio: Decimal) -> sa.ColumnElement[bool]:
    return ledger.c.prompt_tokens > float(above_tokens / prompt_ratio)


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    return [*row_conditions(filters), ledger.c.endpoint.in_(ROUTED_ENDPOINTS)]


def _block(request_id: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    return sa.func.substr(request_id, sa.func.length(request_id) - 1, type_=sa.Text)


def _cost_sums(cost: sa.ColumnElement[Any]) -> list[sa.ColumnElement[Any]]:
    """Sums in two parts, micro-USD and the rest, so that none overflows 64 bits."""
    return [sa.func.sum(cost // PICO_A_MICRO), sa.func.sum(cost % PICO_A_MICRO)]


@dataclass(slots=True, frozen=True)
class _Request:
    """What SQL knows of the request that a row answers."""

    is_routed: sa.ColumnElement[Any]
    overhead_ms: sa.ColumnElement[Any]
    priced: sa.ColumnElement[Any]
    unpriced: sa.ColumnElement[Any]
    micro: sa.ColumnElement[Any]
    rest: sa.ColumnElement[Any]


def _retried() -> sa.Subquery:
    """The few requests with several attempts; the table is read in order for the others."""
    return sa.select(ledger.c.request_id).where(ledger.c.attempt > 1).distinct().subquery("retried")


def _is_routed() -> sa.ColumnElement[bool]:
    row = ledger.c
    return sa.and_(row.attempt == 1, row.score.is_not(None), row.reason.in_(ROUTED_REASONS))


def _is_unpriced() -> sa.ColumnElement[bool]:
    return sa.and_(ledger.c.cost_pico.is_(None), ledger.c.prompt_tokens.is_not(None))


def _of_one_attempt(filters: Filters, segments: dict[Tier, _Segments]) -> sa.Select[Any]:
    row, retried = ledger.c, _retried()
    request = _Request(
        is_routed=sa.case((_is_routed(), 1), else_=0),
        overhead_ms=row.overhead_ms,
        priced=sa.case((row.cost_pico.is_(None), 0), else_=1),
        unpriced=sa.case((_is_unpriced(), 1), else_=0),
        micro=row.cost_pico // PICO_A_MICRO,
        rest=row.cost_pico % PICO_A_MICRO,
    )
    alone = ledger.outerjoin(retried, retried.c.request_id == row.request_id)
    return (
        _sums(request, segments)
        .select_from(alone)
        .where(retried.c.request_id.is_(None), *_conditions(filters))
    )


def _of_several_attempts(filters: Filters, segments: dict[Tier, _Segments]) -> sa.Select[Any]:
    found = _requests(filters)
    request = _Request(
        is_routed=found.c.is_routed,
        overhead_ms=found.c.overhead_ms,
        priced=found.c.priced,
        unpriced=found.c.unpriced,
        micro=found.c.micro,
        rest=found.c.rest,
    )
    answer = sa.and_(ledger.c.request_id == found.c.request_id, ledger.c.attempt == found.c.attempt)
    return _sums(request, segments).select_from(found.join(ledger, answer))


def _requests(filters: Filters) -> sa.Subquery:
    """A row a request: its answering attempt, how it was decided, what all attempts cost."""
    row, retried = ledger.c, _retried()
    micro, rest = _cost_sums(row.cost_pico)
    with_tokens = sa.func.max(sa.case((row.prompt_tokens.is_not(None), row.attempt)))
    return (
        sa.select(
            row.request_id,
            sa.func.coalesce(with_tokens, sa.func.max(row.attempt)).label("attempt"),
            sa.func.max(sa.case((_is_routed(), 1), else_=0)).label("is_routed"),
            sa.func.sum(sa.case((row.attempt == 1, row.overhead_ms), else_=0.0)).label(
                "overhead_ms"
            ),
            sa.func.count(row.cost_pico).label("priced"),
            sa.func.sum(sa.case((_is_unpriced(), 1), else_=0)).label("unpriced"),
            micro.label("micro"),
            rest.label("rest"),
        )
        .select_from(retried.join(ledger, retried.c.request_id == row.request_id))
        .where(*_conditions(filters))
        .group_by(row.request_id)
        .subquery("request")
    )


def _sums(request: _Request, segments: dict[Tier, _Segments]) -> sa.Select[Any]:
    """The answers that are alike, added up."""
    row = ledger.c
    came_whole = sa.and_(request.is_routed == 1, row.attempt == 1, row.outcome == "ok")
    tenth = sa.case(*((row.score >= at / STRATA, at) for at in range(STRATA - 1, 0, -1)), else_=0)
    micro, rest = _cost_sums(row.cost_pico)
    keys = [
        _block(row.request_id).label("block"),
        row.tier.label("tier"),
        request.is_routed.label("is_routed"),
        sa.case((came_whole, tenth)).label("stratum"),
        sa.case((row.cost_pico.is_(None), 0), else_=1).label("is_priced"),
        segments[Tier.SMALL].number.label("small_price"),
        segments[Tier.LARGE].number.label("large_price"),
    ]
    return sa.select(
        *keys,
        sa.func.count().label("requests"),
        sa.func.count(row.prompt_tokens).label("answered"),
        sa.func.sum(row.prompt_tokens).label("prompt_tokens"),
        sa.func.sum(row.completion_tokens).label("completion_tokens"),
        *(sa.func.sum(row[name]).label(name) for name in SPECIAL_TOKENS),
        micro.label("answer_micro"),
        rest.label("answer_rest"),
        sa.func.sum(request.micro).label("spent_micro"),
        sa.func.sum(request.rest).label("spent_rest"),
        sa.func.sum(request.priced).label("priced"),
        sa.func.sum(request.unpriced).label("unpriced"),
        sa.func.sum(request.overhead_ms).label("overhead_ms"),
        sa.func.sum(row.score).label("score"),
    ).group_by(*(sa.literal_column(str(at + 1)) for at in range(len(keys))))


def _part(one: sa.Row[Any], segments: dict[Tier, _Segments]) -> Part:
    answer_pico = int(one.answer_micro or 0) * PICO_A_MICRO + int(one.answer_rest or 0)
    return Part(
        block=one.block,
        answer_tier=Tier(one.tier),
        is_routed=bool(one.is_routed),
        stratum=one.stratum,
        requests=one.requests,
        answered=one.answered,
        usage=usage_in(one),
        answer_pico=answer_pico if one.is_priced else None,
        spent_pico=int(one.spent_micro or 0) * PICO_A_MICRO + int(one.spent_rest or 0),
        priced=int(one.priced or 0),
        unpriced=int(one.unpriced or 0),
        overhead_ms=float(one.overhead_ms or 0),
        score=float(one.score or 0),
        prices={
            Tier.SMALL: segments[Tier.SMALL].prices[one.small_price],
            Tier.LARGE: segments[Tier.LARGE].prices[one.large_price],
        },
    )


def _pairs(filters: Filters) -> sa.Select[str, int, Any, Any]:
    """Few requests have a second attempt: it is looked for first."""
    later, earlier = ledger, ledger.alias("earlier")
    small = sa.case(
        (later.c.tier == Tier.SMALL, later.c.prompt_tokens), else_=earlier.c.prompt_tokens
    )
    large = sa.case(
        (later.c.tier == Tier.LARGE, later.c.prompt_tokens), else_=earlier.c.prompt_tokens
    )
    counted = [each.c.usage_source.in_(("reported", "counted")) for each in (later, earlier)]
    return (
        sa.select(
            _block(later.c.request_id).label("block"),
            sa.func.count().label("requests"),
            sa.func.sum(small).label("small_tokens"),
            sa.func.sum(large).label("large_tokens"),
        )
        .join(
            earlier,
            sa.and_(
                earlier.c.request_id == later.c.request_id,
                earlier.c.attempt < later.c.attempt,
                earlier.c.tier != later.c.tier,
            ),
        )
        .where(
            later.c.attempt > 1,
            later.c.prompt_tokens > 0,
            earlier.c.prompt_tokens > 0,
            *counted,
            *_conditions(filters),
        )
        .group_by(sa.literal_column("1"))
    )


def blocks_of(parts: Sequence[Part], pairs: Sequence[TokenPair]) -> dict[str, int]:
    """A number for each block."""
    blocks = {part.block for part in parts} | {pair.block for pair in pairs}
    return {block: at for at, block in enumerate(sorted(blocks))}
