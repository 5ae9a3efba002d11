"""The interfaces that the layers above compose: backend, sink, token counter, scorer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol, runtime_checkable

from gateway.core.access import Rates, VirtualKey
from gateway.core.answer import Item
from gateway.core.cascade import Cascade
from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment
from gateway.core.energy import Reading
from gateway.core.entry import LedgerEntry
from gateway.core.forwarding import ForwardedRequest
from gateway.core.price import Price
from gateway.core.request import Caller, ChatRequest
from gateway.core.usage import UsageSource


@runtime_checkable
class Backend(Protocol):
    """An object that can answer. One backend may serve several deployments."""

    async def start(self) -> None:
        """Open connections and begin loading; returns at once, never blocks the event loop."""

    async def stop(self) -> None:
        """Close everything that `start` opened."""

    def call(
        self,
        request: ChatRequest,
        deployment: Deployment,
        caller: Caller,
        *,
        cascade: Cascade | None = None,
    ) -> AsyncGenerator[Item, None]:
        """Answer the request: one `Answer` (plain) or `Chunk`s (`request.stream`).

        Closing the generator early cancels the work. Raises only `BackendError`s. With a `cascade`
        nothing comes until its tokens have been watched: then the answer with its `confidence`, or
        LowConfidence before any item. A backend that can't watch answers without a confidence.
        """

    def not_ready(self) -> str | None:
        """Why the backend can't answer yet, in one clause; None when it can."""


@runtime_checkable
class FieldChecker(Protocol):
    """A backend that can't honour everything that a chat may ask for."""

    def unsupported_in(self, request: ChatRequest) -> str | None:
        """The place in a request that it can't honour, such as `tools[0]`; None without any."""


@runtime_checkable
class PromptCounter(Protocol):
    """A backend that can count a prompt's tokens without answering it."""

    #: Who says so: an upstream, or the model's own tokenizer here.
    counts_as: UsageSource

    async def count_tokens(
        self, request: ChatRequest, deployment: Deployment, caller: Caller
    ) -> int:
        """The tokens of the prompt. Raises GatewayError."""


@runtime_checkable
class Forwarding(Protocol):
    """A backend whose upstream can also be sent what isn't a chat."""

    def forward(
        self, request: ForwardedRequest, deployment: Deployment, caller: Caller
    ) -> AsyncGenerator[Item, None]:
        """The `Piece`s of the upstream's answer. Raises only `BackendError`s."""


@runtime_checkable
class Metered(Protocol):
    """A backend that may measure the machine that answers for it."""

    def reading(self, compute_s: float, elapsed_s: float) -> Reading | None:
        """What a call has drawn that began so long ago and had so much of the machine's time.

        Both in seconds; None where nothing is measured. Never waits.
        """


class TokenCounter(Protocol):
    """Counts a conversation's tokens by the model's own tokenizer and chat template."""

    def exceeds(self, messages: Sequence[Any], limit: int, tools: Sequence[Any] = ()) -> bool:
        """Whether the prompt, which tells of the tools, has more than `limit` tokens.

        Bounded work however long it is.
        """


class Balancer(Protocol):
    """Says which of a tier's deployments come first."""

    def order(self, deployments: Sequence[Deployment], *, advance: bool) -> Sequence[Deployment]:
        """The order in which to try them; with `advance` the next call gets the next turn."""

    def is_resting(self, deployment: Deployment) -> bool:
        """Whether it failed too often and is left alone for a while."""


class AttemptTracer(Protocol):
    """Follows attempts at backends for somebody who watches."""

    def begin(self, entry: LedgerEntry, deployment: Deployment, caller: Caller) -> Caller:
        """An attempt begins; the caller as the upstream is to see it."""


class Decider(Protocol):
    """What the pipeline needs of a router."""

    def decide(self, request: ChatRequest, caller: Caller) -> RouteDecision:
        """Choose a deployment, without I/O."""

    def degraded(
        self, request: ChatRequest, caller: Caller, decision: RouteDecision
    ) -> RouteDecision | None:
        """The small tier in place of what was decided, for want of money; None where it can't."""


class ForwardingDecider(Protocol):
    """What chooses the upstream of a request that is passed on."""

    def decide(self, request: ForwardedRequest, caller: Caller) -> RouteDecision:
        """Choose a deployment, without I/O."""


class Purse(Protocol):
    """What pays for attempts at backends, where the caller's key has a budget."""

    async def reserve(
        self,
        request: ChatRequest | ForwardedRequest,
        deployment: Deployment,
        caller: Caller,
        entry: LedgerEntry,
        price: Price | None,
    ) -> None:
        """Set aside the most that the attempt can cost; its entry ends that once it is recorded.

        Raises NotPayable, or LedgerUnavailable.
        """


class Limiter(Protocol):
    """What holds keys to their requests and tokens a minute."""

    async def admit(self, key: VirtualKey, tokens: int | None) -> Rates:
        """Count a request and the tokens that it may take; None asks for no tokens."""

    def correct(self, key: VirtualKey, tokens: int) -> None:
        """Count tokens that were more (or fewer, below 0) than was thought; returns at once."""


class Sink(Protocol):
    """Where ledger entries go."""

    def put(self, entry: LedgerEntry) -> None:
        """Take one entry; never blocks and never raises."""

    def start(self) -> None:
        """Begin writing in the background."""

    def stop(self) -> None:
        """Write what is still queued, then end."""
