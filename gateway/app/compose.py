"""Settings and secrets in, a wired gateway out: the one place where the parts meet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from gateway.accounting.feedback import FeedbackBook
from gateway.accounting.forwarding import ModelPrices
from gateway.accounting.ledger import Ledger
from gateway.accounting.machine import kept_machines
from gateway.accounting.pricing import cost_of
from gateway.accounting.response_shelf import ResponseShelf
from gateway.accounting.responses import ResponseStore
from gateway.api.count_tokens import PromptLength
from gateway.app.access import Access, access_of, purse_of
from gateway.app.backends import backend_of
from gateway.app.deployments import chatting, check_adapters, deployments_of
from gateway.app.estimates import Estimates
from gateway.app.observed import Observed, watcher
from gateway.app.policies import configured_scorer, following_on, policies_of
from gateway.app.resilience import balance_of, health_of, hedging_of
from gateway.app.restart import same_backend
from gateway.app.warming import live_policies, warm
from gateway.backends.local.backend import LocalBackend
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import LedgerUnavailable, UpstreamError
from gateway.core.interfaces import Backend, FieldChecker, PromptCounter, TokenCounter
from gateway.core.names import ServedName
from gateway.core.request import Caller, ChatRequest
from gateway.core.usage import estimate_tokens
from gateway.pipeline import Passing, Pipeline
from gateway.resilience.balance import Balance
from gateway.resilience.health import Health
from gateway.routing.affinity import Affinity, Sessions
from gateway.routing.capability import CapabilityFilter
from gateway.routing.embeddings import ByEndpoint, EmbeddingsRouter
from gateway.routing.forwarding import ForwardingRouter
from gateway.routing.language import language_of
from gateway.routing.policy import ThresholdSource
from gateway.routing.router import Experiment, Router
from gateway.settings import (
    AffinitySettings,
    DeploymentSettings,
    Environment,
    Settings,
)

#: How long a reload waits for new backends (looks, 10 ms apart), and for rows to be written.
_READY_LOOKS = 200
_WRITTEN_WITHIN_S = 2.0
#: How upstreams answer that have a Messages API and no way to count for it.
_COUNTS_NOTHING = frozenset({404, 405, 501})


@dataclass(slots=True)
class Gateway:
    """The wired parts, and their lifetime."""

    settings: Settings
    client_keys: Sequence[str]
    deployments: Sequence[Deployment]
    router: Router
    embeddings: EmbeddingsRouter
    estimates: Estimates
    backends: Mapping[str, Backend]
    sessions: Sessions
    health: Health
    ledger: Ledger
    sink: Observed
    feedback: FeedbackBook
    responses: ResponseShelf | None
    access: Access
    pipeline: Pipeline

    async def start(self) -> None:
        """Open the ledger and the backends; models load in the background."""
        self.ledger.start()
        await self.access.start()
        await asyncio.to_thread(self.router.warm)
        await self._warm(())
        for backend in self.backends.values():
            await backend.start()

    async def start_after(self, previous: Gateway) -> None:
        """Start what `previous` hasn't started, and see it ready; the ledger serves both."""
        new = [one for one in self.backends.values() if one not in previous.backends.values()]
        try:
            for backend in new:
                await backend.start()
            await self._warm([policy.source for policy in previous.router.policies.values()])
            for _ in range(_READY_LOOKS):
                if not any(backend.not_ready() for backend in new):
                    break
                await asyncio.sleep(0.01)
        except BaseException:
            for backend in new:
                await backend.stop()
            raise

    def learn_after(self, previous: Gateway) -> None:
        """Take over what `previous` has learnt, and learn from calls that end from now on.

        Not before: calls have ended while this gateway was composed and started.
        """
        self.estimates.learn_from(previous.estimates)
        self.sink.observers = (self.estimates.observe, watcher(self.router))

    async def stop(self) -> None:
        """Close the backends, then write what the ledger still holds."""
        for backend in self.backends.values():
            await backend.stop()
        await self.access.stop()
        await asyncio.to_thread(self.ledger.stop)
        self.feedback.close()
        if self.responses is not None:
            self.responses.close()

    async def _warm(self, sources: Sequence[ThresholdSource]) -> None:
        """Tell targets what the ledger knows, save those that follow traffic already."""
        live = [
            one for one in live_policies(self.router.policies.values()) if one.source not in sources
        ]
        if not live:
            return
        if sources:
            with contextlib.suppress(TimeoutError, LedgerUnavailable):
                async with asyncio.timeout(_WRITTEN_WITHIN_S):
                    await self.ledger.wait_written()
        url, workers = self.settings.ledger.url, self.settings.server.workers
        await asyncio.to_thread(warm, live, url, self.router.version, workers)

    def not_ready(self) -> dict[str, str | None]:
        """By part, why it can't serve yet; None where it can."""
        states = {name: backend.not_ready() for name, backend in self.backends.items()}
        return {**states, "ledger": self.ledger.not_ready()}

    def degraded(self) -> dict[str, str | None]:
        """By part, what is wrong while requests go on; None where nothing is."""
        return {"ledger": self.ledger.degraded()}

    def models(self) -> list[ServedName]:
        """Every name that a client may send."""
        return [*self.router.models(), *self.embeddings.models()]

    def estimate_costs(self, request: ChatRequest) -> list[tuple[str, Decimal | None]]:
        """What each deployment would charge, from estimated tokens; None where unknown."""
        return [(one.name, self.estimates.usd(request, one)) for one in chatting(self.deployments)]

    async def prompt_length(self, request: ChatRequest, caller: Caller) -> PromptLength:
        """How long the prompt is for the deployment that the request would go to."""
        deployment = self.router.preview(request, caller).deployment
        backend = self.backends.get(deployment.name)
        if isinstance(backend, PromptCounter):
            try:
                tokens = await backend.count_tokens(request, deployment, caller)
                return PromptLength(tokens, deployment.name, backend.counts_as)
            except UpstreamError as error:
                if error.status not in _COUNTS_NOTHING:
                    raise
        return PromptLength(estimate_tokens(request.messages), deployment.name, "estimated")

    def startup_notes(self) -> list[str]:
        """What somebody who has just started the gateway should know, a line each."""
        notes = [
            f"Deployment {one.name} can't be called: {one.unavailable}."
            for one in self.deployments
            if one.unavailable
        ]
        chats = chatting(self.deployments)
        usable = {one.tier for one in chats if not one.unavailable}
        if chats and Tier.LARGE not in usable:
            small = next((one.name for one in chats if one.tier is Tier.SMALL), "nothing")
            notes = [
                f"No large model can be called, so hard prompts are answered by {small}, "
                f"with x-gateway-reason: no_large_backend ({' '.join(notes)})"
            ]
        return notes


def compose(
    settings: Settings,
    environment: Environment,
    engine_sockets: Mapping[str, Path],
    previous: Gateway | None = None,
) -> Gateway:
    """Wire a gateway; nothing is opened before `start`.

    `engine_sockets` gives, by deployment name, where its local engine listens. What lasts (the
    ledger, sessions, what was learnt, backends that are still the same) is taken from `previous`.
    Blocks for as long as files take to load. Raises ConfigError.
    """
    deployments = deployments_of(settings, environment)
    models_dir = environment.models_dir(settings)
    check_adapters(settings, models_dir)
    configured = {entry.name: entry for entry in settings.deployments}
    backends = {
        one.name: _kept_backend(entry, previous)
        or backend_of(entry, environment, models_dir, engine_sockets)
        for one in deployments
        # A model for chats that is still to be pulled keeps the gateway from being ready.
        if ((entry := configured[one.name]).backend, entry.serves) == ("local", "chat")
        or one.unavailable is None
    }
    estimates = Estimates(chatting(deployments), settings.routing.reserved_output_tokens)
    affinity = settings.routing.affinity
    sessions = Sessions(
        ttl_s=affinity.ttl_s,
        most=affinity.max_sessions,
        earlier=None if previous is None else previous.sessions,
    )
    health = Health() if previous is None else previous.health
    states = health_of(settings, health)
    balance = balance_of(settings, states)
    router = _router(settings, deployments, backends, estimates, sessions, balance, previous)
    if previous is None:
        ledger = _ledger(settings, environment)
        sink = Observed(ledger, [estimates.observe, watcher(router)])
        feedback, responses = FeedbackBook(settings.ledger.url), _responses(settings)
        access = access_of(settings, environment)
    else:
        ledger, sink = previous.ledger, previous.sink
        feedback, responses = previous.feedback, previous.responses
        access = previous.access
    embeddings = _embeddings_router(settings, deployments, router.version)
    pipeline = Pipeline(
        router=ByEndpoint(router, embeddings),
        backends=backends,
        health=states,
        price_call=cost_of,
        sink=sink,
        wait_written=ledger.wait_written if settings.ledger.durable else None,
        keep_messages=settings.ledger.keep_messages,
        retries={entry.name: entry.retries for entry in settings.deployments},
        deadline_s=settings.resilience.deadline_s,
        hedging=hedging_of(settings),
    )
    if previous is not None:
        before = previous.pipeline.machines
        pipeline.machines |= kept_machines(backends, previous.backends, before)
    pipeline.passing = _passing(settings, deployments, router.version)
    pipeline.purse = purse_of(settings, access)
    return Gateway(
        settings=settings,
        client_keys=environment.client_keys(settings),
        deployments=deployments,
        router=router,
        embeddings=embeddings,
        estimates=estimates,
        backends=backends,
        sessions=sessions,
        health=health,
        ledger=ledger,
        sink=sink,
        feedback=feedback,
        responses=responses,
        access=access,
        pipeline=pipeline,
    )


def _passing(settings: Settings, deployments: Sequence[Deployment], version: str) -> Passing:
    chats = {entry.name for entry in settings.deployments if entry.serves == "chat"}
    usual = [one for one in deployments if one.name in chats]
    base_urls = {one.name: one.base_url for one in settings.deployments if one.base_url is not None}
    return Passing(
        router=ForwardingRouter(deployments, usual, version=version),
        model_price=ModelPrices(base_urls).price,
    )


def _ledger(settings: Settings, environment: Environment) -> Ledger:
    ledger = settings.ledger
    return Ledger(
        ledger.url,
        queue_size=ledger.queue_size,
        flush_interval_s=ledger.flush_interval_s,
        durable=ledger.durable,
        retention_days=ledger.retention_days,
        spool_dir=environment.spool_dir(settings),
        spool_mb=ledger.spool_mb,
    )


def _responses(settings: Settings) -> ResponseShelf | None:
    if not settings.responses.store:
        return None
    ledger, days = settings.ledger, settings.responses.retention_days
    return ResponseShelf(ResponseStore(ledger.url, durable=ledger.durable, retention_days=days))


def _kept_backend(entry: DeploymentSettings, previous: Gateway | None) -> Backend | None:
    """The backend that serves it already, be it under another name."""
    if previous is None:
        return None
    fitting = [
        before
        for before in previous.settings.deployments
        if before.name in previous.backends and same_backend(before, entry)
    ]
    found = min(fitting, key=lambda before: before.name != entry.name, default=None)
    return None if found is None else previous.backends[found.name]


def _embeddings_router(
    settings: Settings, deployments: Sequence[Deployment], version: str
) -> EmbeddingsRouter:
    routing = settings.routing
    return EmbeddingsRouter(
        [one for one in deployments if one.serves == "embeddings"],
        others=chatting(deployments),
        model_map=routing.model_map,
        fallback=routing.fallback,
        version=version,
    )


def _router(
    settings: Settings,
    deployments: Sequence[Deployment],
    backends: Mapping[str, Backend],
    estimates: Estimates,
    sessions: Sessions,
    balance: Balance,
    previous: Gateway | None,
) -> Router:
    routing = settings.routing
    scorer = configured_scorer(routing.classifier)
    counters: dict[str, TokenCounter] = {}
    for name, backend in backends.items():
        if isinstance(backend, LocalBackend) and (counter := backend.counter) is not None:
            counters[name] = counter
    chats = chatting(deployments)
    if any(one.languages is not None for one in chats):
        language_of("load the model now, not at the first request")
    policies = policies_of(routing, scorer, processes=settings.server.workers)
    if previous is not None and previous.router.version == scorer.version:
        earlier = previous.router.policies
        policies = following_on(policies, routing, earlier, previous.settings.routing)
    shadow = None if routing.shadow is None else configured_scorer(routing.shadow, "routing.shadow")
    return Router(
        deployments=chats,
        policies=policies,
        default_policy=routing.default_policy,
        scorer=scorer,
        capability_filter=CapabilityFilter(
            counters, routing.reserved_output_tokens, _unsupported(backends)
        ),
        model_map=routing.model_map,
        fallback=routing.fallback,
        affinity=_affinity(routing.affinity, sessions, estimates),
        experiment=Experiment(routing.exploration, shadow),
        balance=balance,
        tier_usd=estimates.tier_usd,
        embedding_names=[
            name
            for one in deployments
            if one.serves == "embeddings"
            for name in (one.name, *one.aliases)
        ],
    )


def _unsupported(
    backends: Mapping[str, Backend],
) -> dict[str, Callable[[ChatRequest], str | None]]:
    return {
        name: backend.unsupported_in
        for name, backend in backends.items()
        if isinstance(backend, FieldChecker)
    }


def _affinity(
    settings: AffinitySettings, sessions: Sessions, estimates: Estimates
) -> Affinity | None:
    if not settings.enabled:
        return None
    return Affinity(
        sessions=sessions,
        least_margin=settings.margin,
        lost_usd=estimates.lost_cache_usd,
        extra_usd=estimates.extra_usd,
    )
