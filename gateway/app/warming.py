"""Tells thresholds that follow live traffic what the ledger has seen before this start."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, time

from gateway.accounting.query import LedgerReader
from gateway.core.errors import LedgerUnavailable
from gateway.routing.policy import Policy
from gateway.routing.targets import WINDOW, ShareTarget, SpendTarget

_log = logging.getLogger("gateway.routing")


def live_policies(policies: Iterable[Policy]) -> list[Policy]:
    """The policies whose threshold follows live traffic."""
    return [one for one in policies if isinstance(one.source, ShareTarget | SpendTarget)]


def warm(policies: Iterable[Policy], ledger_url: str, router: str, processes: int = 1) -> None:
    """Seed each policy with its newest scores, or its part of what it spent today. Blocks."""
    # SQLAlchemy is loaded only where a policy follows live traffic.
    from gateway.accounting.history import recent_scores, spent_since

    reader = LedgerReader(ledger_url)
    today = datetime.now(UTC).date()
    try:
        for policy in policies:
            if isinstance(policy.source, ShareTarget):
                policy.source.seed(recent_scores(reader, router, policy.name, WINDOW))
            elif isinstance(policy.source, SpendTarget):
                since = datetime.combine(today, time(), UTC)
                spent = spent_since(reader, policy.name, since) / processes
                policy.source.spent(spent, today)
    except LedgerUnavailable as error:
        _log.warning("targets begin without the ledger's past: %s", error.message)
