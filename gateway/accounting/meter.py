"""Fills the ledger entry of one attempt at a backend: what it used, took and cost."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from gateway.accounting.energy import energy_of
from gateway.accounting.machine import Machine
from gateway.core.answer import Answer, Item
from gateway.core.deployment import Deployment
from gateway.core.energy import Energy, EnergyModel, Hardware
from gateway.core.entry import LedgerEntry, Outcome
from gateway.core.errors import (
    BackendError,
    DeadlinePassed,
    GatewayError,
    LowConfidence,
    StreamInterrupted,
)
from gateway.core.price import Cost, Price
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage, estimate_tokens

PriceCall = Callable[[Usage, Price | None, Energy | None], Cost]


class AttemptMeter(ABC):
    """Fills one entry; it is complete once `settle` was called."""

    def __init__(
        self,
        price: Price | None,
        energy_model: EnergyModel | None,
        entry: LedgerEntry,
        price_call: PriceCall,
        machine: Machine | None,
    ) -> None:
        """`machine` is what the calls to one deployment share; None for one of the call's own."""
        self._price = None if price is None else price.at(entry.ts)
        self._energy_model = energy_model
        self._machine = Machine() if machine is None else machine
        self._began = self._machine.begin()
        is_hourly = price is not None and price.usd_per_hour is not None
        self._is_timed = is_hourly or isinstance(energy_model, Hardware)
        self._entry = entry
        self._price_call = price_call
        self._started_s = time.perf_counter()
        self._ended = False

    @abstractmethod
    def observe(self, item: Item) -> None:
        """Note one item: the first sets the time to first token, the last usage wins."""

    @abstractmethod
    def _unreported(self) -> Usage | None:
        """Usage of a call that nobody counted; None where it can't be told."""

    def give_up(self, error: LowConfidence) -> None:
        """Note that the attempt was ended for its low confidence; what it used is still billed."""
        self._entry.confidence = error.confidence
        self._entry.certainty = error.certainty
        self._charge(error.usage)
        self.end("cancelled", 200)

    def fail(self, error: GatewayError) -> None:
        """Note that the attempt failed."""
        self.end(*_outcome_of(error))

    def cut(self, reason: GatewayError | None) -> None:
        """Note that the attempt was cancelled by the gateway itself, if it gives a reason."""
        if isinstance(reason, DeadlinePassed):
            self.end("timeout", 504)
        elif reason is not None:
            self.end("interrupted", 503 if self._entry.ttft_ms is None else 200)

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
        if entry.usage is None and began and (usage := self._unreported()) is not None:
            self._charge(usage)
        self._machine.end()

    def _charge(self, usage: Usage) -> None:
        elapsed_s = self._elapsed_ms() / 1e3
        if self._is_timed and usage.compute_s is None:
            compute_s = self._machine.since(self._began)
            reading = self._machine.reading(compute_s, elapsed_s)
            usage = replace(usage, compute_s=compute_s, reading=reading)
        entry = self._entry
        entry.usage = usage
        energy = energy_of(usage, self._energy_model, elapsed_s)
        entry.cost = self._price_call(usage, self._price, energy)
        if energy is not None:
            entry.energy_wh, entry.co2_g = energy.wh, energy.co2_g
            entry.energy_source = energy.source

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started_s) * 1e3


class Meter(AttemptMeter):
    """Fills the entry of an attempt at a chat; usage that nobody reported is estimated."""

    def __init__(
        self,
        request: ChatRequest,
        deployment: Deployment,
        entry: LedgerEntry,
        price_call: PriceCall,
        machine: Machine | None = None,
    ) -> None:
        super().__init__(deployment.price, deployment.energy, entry, price_call, machine)
        self._request = request
        self._events = 0

    def observe(self, item: Item) -> None:
        """Note one item: the first sets the time to first token, the last usage wins."""
        entry = self._entry
        if entry.ttft_ms is None:
            entry.ttft_ms = self._elapsed_ms()
        if item.model_served is not None:
            entry.model_served = item.model_served
        if item.confidence is not None:
            entry.confidence = item.confidence
        if item.certainty is not None:
            entry.certainty = item.certainty
        if isinstance(item, Answer):
            self._charge(item.usage if _is_told(item.usage) else self._estimate(item))
            self.end("ok", 200)
            return
        self._events += item.events
        if item.usage is not None:
            self._charge(item.usage if _is_told(item.usage) else self._estimate(None))

    def settle(self) -> None:
        """Close the books; of a stream that was cut, the prompt was counted at its beginning."""
        usage = self._entry.usage
        said = self._events
        if usage is not None and usage.source == "estimated" and said > usage.completion_tokens:
            self._charge(replace(usage, completion_tokens=said, compute_s=None))
        super().settle()

    def _unreported(self) -> Usage:
        return self._estimate(None)

    def _estimate(self, answer: Answer | None) -> Usage:
        """Usage of a call that nobody counted: bytes of text, or one token a streamed event."""
        completion_tokens = self._events
        if answer is not None:
            completion_tokens = estimate_tokens(_all_said(answer))
        known = self._request.prompt_tokens
        return Usage(
            prompt_tokens=estimate_tokens(self._request.messages) if known is None else known,
            completion_tokens=completion_tokens,
            source="estimated",
        )


def _all_said(answer: Answer) -> Iterator[Mapping[str, Any]]:
    """The messages of an answer; one of Anthropic's is a message itself."""
    if answer.wire == "messages":
        yield answer.payload
        return
    choices = answer.payload.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        said = _said(choice) if isinstance(choice, Mapping) else None
        if isinstance(said, Mapping):
            yield said


def _said(choice: Mapping[str, Any]) -> object:
    """A choice's message; of a text completion its text as one."""
    return choice.get("message") or {"content": choice.get("text")}


def _is_told(usage: Usage | None) -> TypeGuard[Usage]:
    """Whether anything was counted: a usage object of zeros, or an empty one, tells of no call."""
    if usage is None:
        return False
    is_counted = usage.prompt_tokens or usage.completion_tokens
    return bool(is_counted) or usage.reported_cost_usd is not None


def _outcome_of(error: GatewayError) -> tuple[Outcome, int]:
    if not isinstance(error, BackendError):
        return "upstream_error", 400
    if isinstance(error, StreamInterrupted):
        return "interrupted", error.status or 200
    if error.timed_out:
        return "timeout", error.status or 504
    return "upstream_error", error.status or 502
