"""The gateway as it stands: a changed configuration replaces it between two requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from gateway.accounting.filters import Filters
from gateway.accounting.query import LedgerReader
from gateway.api.count_tokens import PromptLength
from gateway.app.compose import Gateway, compose
from gateway.app.logs import set_level
from gateway.app.resilience import set_limits
from gateway.app.restart import Engine, Reachable, changed_keys, reachable
from gateway.app.source import ConfigSource, Contents
from gateway.core.decision import Explanation
from gateway.core.interfaces import AttemptTracer, Backend
from gateway.core.names import ServedName
from gateway.core.request import Caller, ChatRequest
from gateway.pipeline import Pipeline
from gateway.settings import ConfigError, Environment, Settings

if TYPE_CHECKING:  # NumPy comes with it
    from gateway.accounting.whatif import Scenario

LOOK_EVERY_S = 1.0
#: A file that changed a moment ago may still be being written.
SETTLED_AFTER_S = 0.2
#: A request that takes longer than this may lose its backend.
RETIRED_FOR_S = 3600.0

_log = logging.getLogger("gateway.config")


class LiveGateway:
    """Holds the gateway of the newest good configuration, and looks for changes.

    Requests in flight end on the gateway that they began on; a backend that the new one doesn't
    have is closed once none of them can call it any more. A change that is refused changes nothing:
    `refusal` then says why, without values, until a good one comes. `reloads` counts those.
    """

    def __init__(
        self,
        source: ConfigSource,
        settings: Settings,
        environment: Environment,
        engine_sockets: Mapping[str, Path],
    ) -> None:
        """Compose the first gateway from `settings`, which came from the source. Blocks."""
        self._source = source
        self._environment = environment
        self._engines = [
            Engine(entry, engine_sockets[entry.name])
            for entry in settings.deployments
            if entry.name in engine_sockets
        ]
        self._contents = Contents()
        self._files = source.files(settings.routing)
        self._seen = self._contents.digests(self._files)
        self._wanted = settings
        self._retired: list[tuple[Gateway, float]] = []
        self._asked = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self.gateway = compose(settings, environment, engine_sockets)
        #: The hot path's short way to it.
        self.pipeline: Pipeline = self.gateway.pipeline
        #: Follows the attempts of this gateway and of those to come.
        self.tracer: AttemptTracer | None = None
        #: Called once a new gateway is in place.
        self.reloaded: Callable[[], None] | None = None
        self.refusal: str | None = None
        self.reloads = 0
        #: Set when the server begins to end: streams that have no end of their own stop then.
        self.ending = asyncio.Event()

    async def start(self) -> None:
        """Start the gateway, and begin to watch."""
        await self.gateway.start()
        self._watching = asyncio.create_task(self._watch(), name="configuration")

    async def stop(self) -> None:
        """Stop watching, and the gateway with everything that it holds open."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        for backend in self._left_over([]):
            await backend.stop()
        await self.gateway.stop()

    def reload_now(self) -> None:
        """Read the configuration again, changed or not."""
        self._asked.set()

    def models(self) -> Sequence[ServedName]:
        """Every name that a client may send."""
        return self.gateway.models()

    def explain(self, request: ChatRequest, caller: Caller) -> Explanation:
        """The decision that live traffic would get, with what led to it."""
        return self.gateway.router.explain(request, caller)

    def estimate_costs(self, request: ChatRequest) -> list[tuple[str, Decimal | None]]:
        """What each deployment would charge; None where unknown."""
        return self.gateway.estimate_costs(request)

    def what_if(self, kind: Scenario, **filters: Unpack[Filters]) -> dict[str, Any]:
        """What the ledger's chats would have cost otherwise, at the prices of now. It blocks."""
        from gateway.app.scenarios import weighed, what_if_record

        gateway = self.gateway
        reader = LedgerReader(gateway.settings.ledger.url)
        usd_per_hour = gateway.settings.routing.usd_per_hour
        (outcome,) = weighed(reader, gateway.deployments, usd_per_hour, kind, **filters)
        return what_if_record(outcome)

    async def prompt_length(self, request: ChatRequest, caller: Caller) -> PromptLength:
        """How long the prompt is for the deployment that the request would go to."""
        return await self.gateway.prompt_length(request, caller)

    def not_ready(self) -> dict[str, str | None]:
        """By part, why it can't serve yet; None where it can."""
        return self.gateway.not_ready()

    def degraded(self) -> dict[str, str | None]:
        """By part, what is wrong with it though it serves; None where nothing is."""
        return self.gateway.degraded()

    def notes(self) -> dict[str, str]:
        """What somebody should see to, though the gateway serves."""
        return {} if self.refusal is None else {"configuration": self.refusal}

    async def _watch(self) -> None:
        # What was loaded may have been changed before its digest was taken.
        is_asked = await asyncio.to_thread(self._source_differs)
        while True:
            try:
                if is_asked or await self._has_changed():
                    await self._reload()
            except Exception:
                self.refusal = "it can't be used; the log says why"
                _log.exception("the configuration can't be reloaded, the old one stays")
            is_asked = await self._wait()
            await self._close_retired()

    async def _wait(self) -> bool:
        """Sleep until the next look; whether somebody asked for a reload."""
        with contextlib.suppress(TimeoutError):
            # Not wait_for: before Python 3.12 it can lose the cancellation that ends this task.
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._asked.wait()
        is_asked = self._asked.is_set()
        self._asked.clear()
        return is_asked

    def _source_differs(self) -> bool:
        try:
            return self._source.load() != self._wanted
        except ConfigError:
            return True

    async def _has_changed(self) -> bool:
        """Whether a file has other contents than at the last reload, and keeps them."""
        found = await asyncio.to_thread(self._contents.digests, self._files)
        while found != self._seen:
            earlier = found
            await asyncio.sleep(SETTLED_AFTER_S)
            found = await asyncio.to_thread(self._contents.digests, self._files)
            if found == earlier:
                return found != self._seen
        return False

    async def _reload(self) -> None:
        """Compose from the files as they are now and put that in place, or refuse it."""
        previous = self.gateway
        try:
            gateway, reached = await asyncio.to_thread(self._composed, previous)
        except ConfigError as error:
            where = ", ".join(sorted({problem.partition(":")[0] for problem in error.problems}))
            self.refusal = f"the changed {error.source} is refused ({where}); the log says more"
            _log.error("the changed configuration is refused, the old one stays: %s", error)
            return
        await gateway.start_after(previous)
        set_limits(gateway.settings, gateway.health)
        gateway.learn_after(previous)
        gateway.pipeline.tracer = self.tracer
        self.gateway, self.pipeline = gateway, gateway.pipeline
        self._retired.append((previous, time.monotonic()))
        self.refusal = None
        self.reloads += 1
        if self.reloaded is not None:
            self.reloaded()
        set_level(gateway.settings.logging)
        _tell(previous, gateway, reached)

    def _composed(self, previous: Gateway) -> tuple[Gateway, Reachable]:
        self._seen = self._contents.digests(self._files)
        if self._source.is_empty():
            raise ConfigError(str(self._source.path), ["it is empty"])
        wanted = self._source.load()
        files = self._source.files(wanted.routing)
        if files != self._files:
            self._files = files
            self._seen = self._contents.digests(files)
        self._wanted = wanted
        reached = reachable(previous.settings, wanted, self._engines)
        gateway = compose(reached.settings, self._environment, reached.engine_sockets, previous)
        return gateway, reached

    async def _close_retired(self) -> None:
        now = time.monotonic()
        in_use = [
            (gateway, since)
            for gateway, since in self._retired
            if gateway.pipeline.in_flight > 0 and now - since < RETIRED_FOR_S
        ]
        for backend in self._left_over([gateway for gateway, _ in in_use]):
            await backend.stop()
        self._retired = in_use

    def _left_over(self, in_use: Sequence[Gateway]) -> list[Backend]:
        """Backends of retired gateways that neither these nor the current one has."""
        needed = {id(one) for each in (*in_use, self.gateway) for one in each.backends.values()}
        retired = [one for gateway, _ in self._retired for one in gateway.backends.values()]
        return list({id(one): one for one in retired if id(one) not in needed}.values())


def _tell(previous: Gateway, gateway: Gateway, reached: Reachable) -> None:
    changed = changed_keys(previous.settings, gateway.settings)
    _log.warning("configuration reloaded", extra={"fields": {"changed": changed}})
    if reached.waiting:
        _log.warning("these keys wait for a restart: %s", ", ".join(reached.waiting))
    known = previous.startup_notes()
    for note in gateway.startup_notes():
        if note not in known:
            _log.warning(note)
