"""A sink that also tells the router's live parts how a call ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from gateway.core.entry import LedgerEntry
from gateway.core.forwarding import PASSTHROUGH
from gateway.core.interfaces import Sink
from gateway.routing.router import Router
from gateway.routing.targets import SpendTarget

_log = logging.getLogger("gateway.observed")

Observer = Callable[[LedgerEntry], None]


class Observed(Sink):
    """Passes entries on to a sink, then to observers; an observer's failure stays its own."""

    def __init__(self, sink: Sink, observers: Sequence[Observer]) -> None:
        self._sink = sink
        #: Whoever is told from now on.
        self.observers = tuple(observers)
        #: Whoever is told whatever the configuration is.
        self.lasting: tuple[Observer, ...] = ()

    def put(self, entry: LedgerEntry) -> None:
        """Hand one entry on."""
        self._sink.put(entry)
        for observe in (*self.observers, *self.lasting):
            try:
                observe(entry)
            except Exception:
                _log.exception("an observer failed")

    def start(self) -> None:
        """Start the sink."""
        self._sink.start()

    def stop(self) -> None:
        """Stop the sink."""
        self._sink.stop()


def watcher(router: Router) -> Observer:
    """Tells a router who answered a conversation, and its targets what was spent."""
    spend = {
        name: policy.source
        for name, policy in router.policies.items()
        if isinstance(policy.source, SpendTarget)
    }

    def watch(entry: LedgerEntry) -> None:
        if entry.reason == PASSTHROUGH:
            return
        if entry.session is not None and entry.outcome == "ok":
            router.answered(entry.session, entry.key_id, entry.deployment)
        target = spend.get(entry.policy or "")
        if target is not None and entry.cost.usd is not None:
            target.spent(entry.cost.usd, entry.ts.date())

    return watch
