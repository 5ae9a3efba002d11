"""The story of a request: decide, call, account. Parsing and responding are `gateway.api`'s.

    parse (api) → decide (routing) → call (backends) → account (accounting) → respond (api)

Until the first item has come from a backend, a failure is retried there or falls back to the next
deployment, and what a cascade gives up is escalated. Every attempt leaves one ledger entry,
whatever its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

import orjson

from gateway.core.answer import Answer, Item
from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment
from gateway.core.entry import LedgerEntry, Outcome
from gateway.core.errors import (
    BackendError,
    GatewayError,
    LowConfidence,
    StreamInterrupted,
    reason_of,
)
from gateway.core.interfaces import Backend, Sink
from gateway.core.price import Cost, Price
from gateway.core.request import Caller, ChatRequest
from gateway.core.usage import Usage, estimate_tokens
from gateway.resilience.attempts import Attempt, AttemptPlan

#: UTF-8 bytes of a conversation that is kept; a longer one waits in memory for too little use.
LONGEST_CONVERSATION = 64_000


class Decider(Protocol):
    """What the pipeline needs of a router."""

    def decide(self, request: ChatRequest, caller: Caller) -> RouteDecision:
        """Choose a deployment, without I/O."""


@dataclass(slots=True)
class Reply:
    """An answer that has begun: its first item, the rest, and the ledger entry that it fills.

    Whoever takes a reply must read `rest` to its end or close it: the entry is recorded then.
    """

    decision: RouteDecision
    entry: LedgerEntry
    first: Item
    rest: AsyncGenerator[Item, None]


class Pipeline:
    """Answers requests through a router, the backends and a sink for ledger entries."""

    def __init__(
        self,
        *,
        router: Decider,
        backends: Mapping[str, Backend],
        price_call: Callable[[Usage, Price | None], Cost],
        sink: Sink,
        retries: Mapping[str, int],
        wait_written: Callable[[], Awaitable[None]] | None = None,
        keep_messages: bool = False,
    ) -> None:
        """`backends` and `retries` are keyed by deployment name.

        With `wait_written` an answer ends only once its entry is on disk. With `keep_messages` the
        first entry of a routed request carries its messages.
        """
        self._router = router
        self._backends = backends
        self._price_call = price_call
        self._sink = sink
        self._retries = retries
        self._wait_written = wait_written
        self._keep_messages = keep_messages
        #: Requests that have begun and not ended: what they may call has to stay open.
        self.in_flight = 0

    async def answer(self, request: ChatRequest, caller: Caller) -> Reply:
        """Decide once, then call until a first item has come.

        Raises a GatewayError when no deployment could begin an answer.
        """
        self.in_flight += 1
        is_answered = False
        try:
            decision = self._router.decide(request, caller)
            overhead_ms = (time.perf_counter() - request.received_s) * 1e3
            plan = AttemptPlan(decision, self._retries)
            attempt: Attempt | None = plan.first()
            earlier_usd = Decimal(0)
            while attempt is not None:
                if attempt.wait_s:
                    await asyncio.sleep(attempt.wait_s)
                entry = _new_entry(request, caller, decision, attempt, overhead_ms)
                entry.earlier_usd = earlier_usd
                if self._keep_messages and attempt.number == 1 and decision.score is not None:
                    entry.messages = _messages_text(request)
                items = self._call(request, caller, attempt, entry)
                try:
                    first = await anext(items)
                    is_answered = True
                    return Reply(decision, entry, first, items)
                except BackendError as error:
                    failure = error
                    failure.exhausted = attempt.number > 1
                    earlier_usd += entry.cost.usd or 0
                attempt = plan.after(failure)
            raise failure
        finally:
            if not is_answered:
                self.in_flight -= 1

    async def _call(
        self, request: ChatRequest, caller: Caller, attempt: Attempt, entry: LedgerEntry
    ) -> AsyncGenerator[Item, None]:
        """One attempt: pass the items on, and record the entry exactly once, however it ends."""
        deployment = attempt.deployment
        meter = _Meter(request, deployment, entry, self._price_call)
        backend = self._backends[deployment.name]
        answering = backend.call(request, deployment, caller, cascade=attempt.cascade)
        try:
            async with aclosing(answering) as items:
                async for item in items:
                    meter.observe(item)
                    yield item
                meter.end("ok", 200)
        except LowConfidence as error:
            meter.give_up(error)
            raise
        except GatewayError as error:
            meter.end(*_outcome_of(error))
            raise
        except asyncio.CancelledError as cancelled:
            if reason_of(cancelled) is not None:
                meter.end("interrupted", 503 if entry.ttft_ms is None else 200)
            raise
        finally:
            # No await here: this also runs in a task that is being cancelled.
            meter.settle()
            self._sink.put(entry)
            if entry.ttft_ms is not None:  # it was the attempt that answers
                self.in_flight -= 1
        if self._wait_written is not None:
            await self._wait_written()


class _Meter:
    """Fills one ledger entry with what an attempt used, took and cost."""

    def __init__(
        self,
        request: ChatRequest,
        deployment: Deployment,
        entry: LedgerEntry,
        price_call: Callable[[Usage, Price | None], Cost],
    ) -> None:
        self._request = request
        self._deployment = deployment
        self._entry = entry
        self._price_call = price_call
        self._started_s = time.perf_counter()
        self._events = 0
        self._ended = False

    def observe(self, item: Item) -> None:
        """Note one item: the first sets the time to first token, the last usage wins."""
        entry = self._entry
        if entry.ttft_ms is None:
            entry.ttft_ms = self._elapsed_ms()
        if item.model_served is not None:
            entry.model_served = item.model_served
        if item.confidence is not None:
            entry.confidence = item.confidence
        if isinstance(item, Answer):
            self._charge(item.usage or self._estimate(item))
            self.end("ok", 200)
            return
        self._events += item.events
        if item.usage is not None:
            self._charge(item.usage)

    def give_up(self, error: LowConfidence) -> None:
        """Note that the attempt was ended for its low confidence; what it used is still billed."""
        self._entry.confidence = error.confidence
        self._charge(error.usage)
        self.end("cancelled", 200)

    def end(self, outcome: Outcome, status: int) -> None:
        """Note how the attempt ended."""
        self._entry.outcome = outcome
        self._entry.status = status
        self._ended = True

    def settle(self) -> None:
        """Close the books: the time that it took, and usage where nobody reported any."""
        entry = self._entry
        entry.latency_ms = self._elapsed_ms()
        if not self._ended:
            entry.status = 499  # as nginx logs a client that closed the request
        began = entry.ttft_ms is not None or entry.outcome == "cancelled"
        if entry.usage is None and began:
            self._charge(self._estimate(None))

    def _charge(self, usage: Usage) -> None:
        self._entry.usage = usage
        self._entry.cost = self._price_call(usage, self._deployment.price)

    def _estimate(self, answer: Answer | None) -> Usage:
        """Usage of a call that nobody counted: bytes of text, or one token a streamed event."""
        completion_tokens = self._events
        if answer is not None:
            choices = answer.payload.get("choices")
            messages = [c.get("message") for c in choices or () if isinstance(c, Mapping)]
            completion_tokens = estimate_tokens(m for m in messages if isinstance(m, Mapping))
        return Usage(
            prompt_tokens=estimate_tokens(self._request.messages),
            completion_tokens=completion_tokens,
            source="estimated",
            compute_s=self._elapsed_ms() / 1e3,
        )

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started_s) * 1e3


def _new_entry(
    request: ChatRequest,
    caller: Caller,
    decision: RouteDecision,
    attempt: Attempt,
    overhead_ms: float,
) -> LedgerEntry:
    deployment = attempt.deployment
    return LedgerEntry(
        request_id=caller.request_id,
        attempt=attempt.number,
        ts=datetime.now(UTC),
        endpoint=request.endpoint,
        model_requested=request.model,
        deployment=deployment.name,
        tier=deployment.tier.value,
        reason=attempt.reason,
        router_version=decision.router_version,
        stream=request.stream,
        key_id=caller.key_id,
        session=decision.session or caller.session,
        client_request_id=caller.client_request_id,
        score=decision.score,
        threshold=decision.threshold,
        policy=decision.policy,
        propensity=decision.propensity,
        shadow_version=decision.shadow_version,
        shadow_score=decision.shadow_score,
        overhead_ms=overhead_ms,
        tags=caller.tags,
    )


def _messages_text(request: ChatRequest) -> str | None:
    """The messages as JSON; None where they are too long or too deep to be of use."""
    try:
        text = orjson.dumps(request.messages)
    except (orjson.JSONEncodeError, RecursionError):
        return None
    return text.decode() if len(text) <= LONGEST_CONVERSATION else None


def _outcome_of(error: GatewayError) -> tuple[Outcome, int]:
    if not isinstance(error, BackendError):
        return "upstream_error", 400
    if isinstance(error, StreamInterrupted):
        return "interrupted", error.status or 200
    if error.timed_out:
        return "timeout", error.status or 504
    return "upstream_error", error.status or 502
