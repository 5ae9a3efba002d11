"""Virtual keys: what holds for those that say nothing of their own."""

from __future__ import annotations

from pydantic import Field

from gateway.settings.section import Positive, Section


class KeysSettings(Section):
    """The rates of keys without their own, and how long a dead process's reservations count."""

    rpm: int | None = Field(None, ge=1)
    tpm: int | None = Field(None, ge=1)
    lease_s: Positive = 120
