"""The ledger read as requests, newest first: what was decided, what came of it, what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, Unpack

import sqlalchemy as sa

from gateway.accounting.database import (
    PICO_A_MICRO,
    SPECIAL_TOKENS,
    conversations,
    feedback,
    ledger,
)
from gateway.accounting.filters import Filters, row_conditions
from gateway.accounting.pricing import usd_of
from gateway.accounting.query import LedgerReader
from gateway.accounting.row import usage_in
from gateway.core.deployment import Tier
from gateway.core.usage import Usage

#: Reasons of a decision that a threshold made; another threshold may make another one.
ROUTED_REASONS = frozenset(
    {"below_threshold", "above_threshold", "no_large_backend", "no_small_backend", "explored"}
)

#: Rows that are fetched at once: the history of a large ledger never stands in memory.
_FETCHED_ROWS = 1000


@dataclass(slots=True, frozen=True)
class LoggedRequest:
    """One request of the ledger.

    `tier`, `reason` and `propensity` are those of the decision, that is of the first attempt.
    `usage`, `answer_tier` and `answer_usd` are those of the answer: the last attempt that used
    tokens. `usd` is what all attempts cost, None when one of them used tokens without a price.
    `feedback` (0..1) is the newest that a user gave. `escalated` is whether a cascade gave up on
    the small tier's answer, `confidence` how sure that tier was of its beginning.
    """

    request_id: str
    ts: datetime
    tier: Tier
    reason: str
    model_requested: str = "auto"
    policy: str | None = None
    score: float | None = None
    threshold: float | None = None
    propensity: float = 1.0
    usage: Usage | None = None
    answer_tier: Tier | None = None
    answer_usd: Decimal | None = None
    usd: Decimal | None = Decimal(0)
    feedback: float | None = None
    session: str | None = None
    escalated: bool = False
    confidence: float | None = None
    shadow_version: str | None = None
    shadow_score: float | None = None

    @property
    def is_routed(self) -> bool:
        """Whether its score decided: not where the client or a capability chose the tier."""
        return self.score is not None and self.reason in ROUTED_REASONS


def requests_of(reader: LedgerReader, **filters: Unpack[Filters]) -> Iterator[LoggedRequest]:
    """The requests whose first attempt the filters admit, newest first, as they are read.

    Raises LedgerUnavailable when the database can't be read.
    """
    with reader.connection() as connection:
        if connection is None:
            return
        rows = connection.execution_options(yield_per=_FETCHED_ROWS).execute(_statement(filters))
        for _, attempts in groupby(rows, key=lambda row: row.request_id):
            yield _request(list(attempts))


def average_output_price(reader: LedgerReader, deployment: str) -> Decimal | None:
    """USD per million output tokens over a deployment's priced calls; None without any.

    Raises LedgerUnavailable when the database can't be read.
    """
    row = ledger.c
    sums = sa.select(
        sa.func.sum(row.cost_pico // PICO_A_MICRO),
        sa.func.sum(row.cost_pico % PICO_A_MICRO),
        sa.func.sum(row.completion_tokens),
    ).where(row.deployment == deployment, row.cost_pico.is_not(None))
    with reader.connection() as connection:
        if connection is None:
            return None
        micro, pico_rest, tokens = (int(part or 0) for part in connection.execute(sums).one())
    return usd_of(micro * PICO_A_MICRO + pico_rest) * 1_000_000 / tokens if tokens else None


def recent_scores(reader: LedgerReader, router: str, policy: str, most: int) -> list[float]:
    """The newest scores that a router's version gave under a policy, oldest first.

    Raises LedgerUnavailable when the database can't be read.
    """
    row = ledger.c
    newest = (
        sa.select(row.score)
        .where(row.router_version == router, row.policy == policy, row.attempt == 1)
        .where(row.score.is_not(None))
        .order_by(row.ts.desc())
        .limit(most)
    )
    with reader.connection() as connection:
        if connection is None:
            return []
        return [float(score) for score in connection.scalars(newest)][::-1]


def spent_since(reader: LedgerReader, policy: str, since: datetime) -> Decimal:
    """USD that a policy's requests have cost since then, as far as they are priced.

    Raises LedgerUnavailable when the database can't be read.
    """
    row = ledger.c
    sums = sa.select(
        sa.func.sum(row.cost_pico // PICO_A_MICRO), sa.func.sum(row.cost_pico % PICO_A_MICRO)
    ).where(row.policy == policy, row.ts >= since)
    with reader.connection() as connection:
        if connection is None:
            return Decimal(0)
        micro, pico_rest = (int(part or 0) for part in connection.execute(sums).one())
    return usd_of(micro * PICO_A_MICRO + pico_rest)


def _statement(filters: Filters) -> sa.Select[Any]:
    first, each = ledger, ledger.alias("each")
    newest_feedback = (
        sa.select(feedback.c.score)
        .where(feedback.c.request_id == first.c.request_id)
        .order_by(feedback.c.ts.desc())
        .limit(1)
        .scalar_subquery()
    )
    decision = ("request_id", "ts", "tier", "reason", "model_requested", "policy", "score")
    beside = ("session", "shadow_version", "shadow_score", "confidence")
    return (
        sa.select(
            *(first.c[name] for name in (*decision, "threshold", "propensity", *beside)),
            each.c.attempt,
            each.c.reason.label("attempt_reason"),
            each.c.tier.label("answer_tier"),
            each.c.prompt_tokens,
            each.c.completion_tokens,
            *(each.c[name] for name in SPECIAL_TOKENS),
            each.c.cost_pico,
            newest_feedback.label("feedback"),
        )
        .join(each, each.c.request_id == first.c.request_id)
        .where(first.c.attempt == 1, *row_conditions(filters))
        .order_by(first.c.ts.desc(), first.c.request_id.desc(), each.c.attempt)
    )


def _request(attempts: Sequence[sa.Row[Any]]) -> LoggedRequest:
    first = attempts[0]
    used = [attempt for attempt in attempts if attempt.prompt_tokens is not None]
    costs = {attempt.attempt: _usd(attempt) for attempt in attempts}
    answer = used[-1] if used else None
    unpriced = any(costs[attempt.attempt] is None for attempt in used)
    known = [usd for usd in costs.values() if usd is not None]
    return LoggedRequest(
        request_id=first.request_id,
        ts=first.ts,
        tier=Tier(first.tier),
        reason=first.reason,
        model_requested=first.model_requested,
        policy=first.policy,
        score=first.score,
        threshold=first.threshold,
        propensity=first.propensity,
        usage=None if answer is None else usage_in(answer),
        answer_tier=None if answer is None else Tier(answer.answer_tier),
        answer_usd=None if answer is None else costs[answer.attempt],
        usd=None if unpriced else sum(known, Decimal(0)),
        feedback=first.feedback,
        session=first.session,
        escalated=any(attempt.attempt_reason == "escalated" for attempt in attempts),
        confidence=first.confidence,
        shadow_version=first.shadow_version,
        shadow_score=first.shadow_score,
    )


def _usd(attempt: sa.Row[Any]) -> Decimal | None:
    return None if attempt.cost_pico is None else usd_of(attempt.cost_pico)


def kept_messages(reader: LedgerReader, most: int) -> dict[str, list[dict[str, Any]]]:
    """By request id, the messages of the newest requests whose messages were kept.

    Raises LedgerUnavailable when the database can't be read.
    """
    newest = sa.select(conversations).order_by(conversations.c.ts.desc()).limit(most)
    with reader.connection() as connection:
        if connection is None:
            return {}
        return {row.request_id: json.loads(row.messages) for row in connection.execute(newest)}
