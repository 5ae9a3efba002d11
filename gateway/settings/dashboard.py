"""The page that shows what the ledger holds."""

from __future__ import annotations

from gateway.settings.section import Section


class DashboardSettings(Section):
    """Whether `/dashboard` is served."""

    enabled: bool = True
