"""The story of a request: decide, call, account. Parsing and responding are `gateway.api`'s.

    parse (api) → decide (routing) → call (backends) → account (accounting) → respond (api)

Until the first item has come from a backend, a failure is retried there or falls back to the next
deployment, what a cascade gives up is escalated, and what takes unusually long may be hedged.
Every attempt that reaches a backend leaves one ledger entry, whatever its end.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

from gateway.accounting.kept_messages import messages_text
from gateway.accounting.machine import machines_of
from gateway.accounting.meter import PriceCall
from gateway.accounting.metering import meter_of
from gateway.core.answer import Item
from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment
from gateway.core.entry import LedgerEntry
from gateway.core.errors import (
    BackendError,
    BudgetExceeded,
    DeadlinePassed,
    GatewayError,
    LowConfidence,
    NotCalled,
    NotPayable,
    UpstreamTimeout,
    reason_of,
)
from gateway.core.forwarding import ForwardedRequest
from gateway.core.interfaces import (
    AttemptTracer,
    Backend,
    Decider,
    Forwarding,
    ForwardingDecider,
    Purse,
    Sink,
)
from gateway.core.price import Price
from gateway.core.request import Caller, ChatRequest
from gateway.resilience.attempts import Attempt, AttemptPlan, CautiousPlan
from gateway.resilience.health import DeploymentHealth, is_telling
from gateway.resilience.hedging import Hedging
from gateway.resilience.race import Race

ModelPrice = Callable[[str, Deployment], Awaitable[Price | None]]


@dataclass(slots=True)
class Passing:
    """Where requests go that are passed on, and what the models that they name cost."""

    router: ForwardingDecider
    model_price: ModelPrice


@dataclass(slots=True)
class Reply:
    """An answer that has begun: its first item, the rest, and the ledger entry that it fills.

    Whoever takes a reply must read `rest` to its end or close it: the entry is recorded then.
    """

    decision: RouteDecision
    entry: LedgerEntry
    first: Item
    rest: AsyncGenerator[Item, None]


@dataclass(slots=True)
class _Work:
    """One request on its way: what was decided, and what its attempts have cost so far."""

    request: ChatRequest | ForwardedRequest
    caller: Caller
    decision: RouteDecision
    plan: AttemptPlan
    overhead_ms: float
    model_price: Price | None = None
    earlier_usd: Decimal = Decimal(0)
    answering: LedgerEntry | None = None


@dataclass(slots=True, eq=False)
class _Call:
    """One attempt that has been started: its entry, and its items as they come."""

    attempt: Attempt
    entry: LedgerEntry
    items: AsyncGenerator[Item, None]

    @property
    def is_recorded(self) -> bool:
        """Whether it has reached a backend and ended."""
        return self.entry.status != 0


class Pipeline:
    """Answers requests through a router, the backends and a sink for ledger entries."""

    def __init__(
        self,
        *,
        router: Decider,
        backends: Mapping[str, Backend],
        health: Mapping[str, DeploymentHealth],
        price_call: PriceCall,
        sink: Sink,
        retries: Mapping[str, int],
        deadline_s: float = 120.0,
        hedging: Hedging | None = None,
        wait_written: Callable[[], Awaitable[None]] | None = None,
        keep_messages: bool = False,
    ) -> None:
        """`backends`, `health` and `retries` are keyed by deployment name.

        `deadline_s` is the time within which an answer has to begin. With `wait_written` an answer
        ends only once its entry is on disk. With `keep_messages` the first entry of a routed
        request carries its messages.
        """
        self._router = router
        self._backends = backends
        self._health = health
        self._price_call = price_call
        self._sink = sink
        self._retries = retries
        self._deadline_s = deadline_s
        self._hedging = hedging
        self._wait_written = wait_written
        self._keep_messages = keep_messages
        #: Whose time calls share, by deployment; a reload takes them along.
        self.machines = machines_of(backends)
        #: Told when an attempt begins; the entry says how it ended.
        self.tracer: AttemptTracer | None = None
        #: For requests that are passed on; None where no endpoint does.
        self.passing: Passing | None = None
        #: Pays for attempts whose key has a budget; None where no key can.
        self.purse: Purse | None = None
        #: Requests that have begun and not ended: what they may call has to stay open.
        self.in_flight = 0

    async def answer(self, request: ChatRequest, caller: Caller) -> Reply:
        """Decide once, then call until a first item has come.

        Raises a GatewayError when no deployment could begin an answer.
        """
        self.in_flight += 1
        reply: Reply | None = None
        try:
            decision = self._router.decide(request, caller)
            overhead_ms = (time.perf_counter() - request.received_s) * 1e3
            work = _Work(request, caller, decision, self._plan(request, decision), overhead_ms)
            try:
                reply = await self._answered(work)
            except BudgetExceeded as error:
                smaller = self._router.degraded(request, caller, decision)
                if not error.degrades or smaller is None:
                    raise
                work.decision = smaller
                work.plan = self._plan(request, smaller, work.plan.free_number)
                reply = await self._answered(work)
            return reply
        finally:
            if reply is None:
                self.in_flight -= 1

    async def forward(self, request: ForwardedRequest, caller: Caller) -> Reply:
        """Pass a request on as it came; what can't be repeated has no deadline but its upstream's.

        Raises a GatewayError when no answer could begin.
        """
        assert self.passing is not None  # noqa: S101 (an endpoint for it was made)
        self.in_flight += 1
        reply: Reply | None = None
        try:
            decision = self.passing.router.decide(request, caller)
            price = await self.passing.model_price(request.model, decision.deployment)
            overhead_ms = (time.perf_counter() - request.received_s) * 1e3
            plan = self._plan(request, decision)
            if not request.is_repeatable:
                plan = CautiousPlan(decision, self._retries, math.inf)
            reply = await self._answered(_Work(request, caller, decision, plan, overhead_ms, price))
            return reply
        finally:
            if reply is None:
                self.in_flight -= 1

    def _plan(
        self,
        request: ChatRequest | ForwardedRequest,
        decision: RouteDecision,
        first_number: int = 1,
    ) -> AttemptPlan:
        deadline_s = request.received_s + self._deadline_s
        return AttemptPlan(decision, self._retries, deadline_s, first_number)

    async def _answered(self, work: _Work) -> Reply:
        """Attempt after attempt, as the plan says."""
        hedging = self._hedging if isinstance(work.request, ChatRequest) else None
        attempt: Attempt | None = work.plan.first()
        failure: BackendError | None = None
        while attempt is not None:
            if attempt.wait_s:
                await asyncio.sleep(attempt.wait_s)
            call = self._begin(work, attempt)
            try:
                if hedging is None or attempt.cascade is not None:
                    first = await self._first_item(call, work.plan)
                else:
                    call, first = await self._hedged(work, call, hedging)
            except BackendError as error:
                if isinstance(error, NotPayable) and isinstance(failure, NotCalled | None):
                    raise
                # What a deployment that was called has said tells more than that others rest.
                failure = error if failure is None or not isinstance(error, NotCalled) else failure
                failure.exhausted = attempt.number > 1
                work.earlier_usd += call.entry.cost.usd or 0
                attempt = work.plan.after(error, is_recorded=call.is_recorded)
            else:
                work.answering = call.entry
                call.entry.earlier_usd = work.earlier_usd
                return Reply(work.decision, call.entry, first, call.items)
        assert failure is not None  # noqa: S101 (no plan ends without one)
        raise failure

    def _begin(self, work: _Work, attempt: Attempt) -> _Call:
        entry = _new_entry(work, attempt)
        request = work.request
        if self._keep_messages and attempt.number == 1 and isinstance(request, ChatRequest):
            entry.messages = messages_text(request) if work.decision.score is not None else None
        return _Call(attempt, entry, self._items(work, attempt, entry))

    async def _first_item(self, call: _Call, plan: AttemptPlan) -> Item:
        """The first item, if it comes before the deadline. Raises what ended the attempt."""
        left_s = plan.deadline_s - time.perf_counter()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (this is a coroutine)
        late = DeadlinePassed("The answer didn't begin within the time for it.")
        timer = asyncio.get_running_loop().call_later(max(0.0, left_s), task.cancel, late)
        try:
            return await anext(call.items)
        except asyncio.CancelledError as cancelled:
            if reason_of(cancelled) is late and task.uncancel() == 0:
                raise late from None
            raise
        finally:
            timer.cancel()

    async def _hedged(self, work: _Work, call: _Call, hedging: Hedging) -> tuple[_Call, Item]:
        """The first item of this attempt, or of a second one that is begun if it takes long."""
        wait_s = hedging.wait_s(self._health[call.attempt.deployment.name])
        if wait_s is None:
            return call, await self._first_item(call, work.plan)
        async with Race[_Call, Item]() as race:
            race.enter(call, self._first_item(call, work.plan))
            if not await race.is_over(wait_s) and hedging.allows():
                second = self._begin(work, work.plan.hedge(call.attempt))
                race.enter(second, self._first_item(second, work.plan))
            try:
                winner, first = await race.winner()
            except BackendError:
                work.earlier_usd += sum(one.entry.cost.usd or 0 for one in race.others(call))
                raise
        for loser in race.others(winner):
            await loser.items.aclose()
            work.earlier_usd += loser.entry.cost.usd or 0
        return winner, first

    def _called(
        self, work: _Work, attempt: Attempt, entry: LedgerEntry
    ) -> AsyncGenerator[Item, None]:
        """The backend's answer to one attempt; work begins with its first item."""
        deployment, caller = attempt.deployment, work.caller
        if self.tracer is not None:
            caller = self.tracer.begin(entry, deployment, caller)
        backend = self._backends[deployment.name]
        if isinstance(work.request, ForwardedRequest):
            assert isinstance(backend, Forwarding)  # noqa: S101 (its router knows which can)
            return backend.forward(work.request, deployment, caller)
        return backend.call(work.request, deployment, caller, cascade=attempt.cascade)

    async def _entered(
        self, work: _Work, deployment: Deployment, entry: LedgerEntry, health: DeploymentHealth
    ) -> int:
        """Take a place, then have the attempt paid for; without money the place is free again."""
        era = await health.enter()
        if self.purse is not None and work.caller.key is not None:
            is_passed_on = isinstance(work.request, ForwardedRequest)
            price = work.model_price if is_passed_on else deployment.price
            try:
                await self.purse.reserve(work.request, deployment, work.caller, entry, price)
            except BaseException:
                health.breaker.gave_up(era)
                health.leave()
                raise
        return era

    async def _items(
        self, work: _Work, attempt: Attempt, entry: LedgerEntry
    ) -> AsyncGenerator[Item, None]:
        """One attempt: pass the items on, and record the entry exactly once, however it ends."""
        deployment = attempt.deployment
        health = self._health[deployment.name]
        era = await self._entered(work, deployment, entry, health)
        breaker = health.breaker
        answering = self._called(work, attempt, entry)
        machine = self.machines[deployment.name]
        request, price_call = work.request, self._price_call
        meter = meter_of(request, deployment, work.model_price, entry, price_call, machine)
        verdict: Callable[[], None] = partial(breaker.gave_up, era)
        try:
            async with aclosing(answering) as items:
                async for item in items:
                    if entry.ttft_ms is None:
                        verdict = partial(breaker.succeeded, era)
                    meter.observe(item)
                    yield item
                meter.end("ok", 200)
        except LowConfidence as error:
            verdict = partial(breaker.succeeded, era)
            meter.give_up(error)
            raise
        except GatewayError as error:
            if isinstance(error, BackendError) and is_telling(work.request, error):
                verdict = partial(breaker.failed, era, error)
            meter.fail(error)
            raise
        except asyncio.CancelledError as cancelled:
            reason = reason_of(cancelled)
            if isinstance(reason, DeadlinePassed) and attempt.number == 1:
                late = UpstreamTimeout(reason.message)
                if is_telling(work.request, late):
                    verdict = partial(breaker.failed, era, late)
            meter.cut(reason)
            raise
        finally:
            # No await here: this also runs in a task that is being cancelled.
            verdict()
            health.leave()
            meter.settle()
            self._sink.put(entry)
            if entry.ttft_ms is not None and isinstance(work.request, ChatRequest):
                health.first_item_after(entry.ttft_ms / 1e3)
            if work.answering is entry:
                self.in_flight -= 1
        if self._wait_written is not None:
            await self._wait_written()


def _new_entry(work: _Work, attempt: Attempt) -> LedgerEntry:
    request, caller, decision = work.request, work.caller, work.decision
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
        overhead_ms=work.overhead_ms,
        tags=caller.tags,
    )
