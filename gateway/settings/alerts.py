"""Who is told how far budgets are used up."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.settings.section import EnvName, Section


class AlertsSettings(Section):
    """A webhook, and the percentages that it is told of. Its address is a secret."""

    webhook_url_env: EnvName = "GATEWAY_ALERTS_URL"
    at: tuple[Annotated[int, Field(ge=1, le=100)], ...] = (50, 80, 100)
