"""The names that a client may send as `model`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class ServedName:
    """One name: a routing name (`auto`, `auto:POLICY`), a deployment, its alias or adapter.

    `owned_by` says what stands behind it; `tier` and `context_window` (tokens) are None for
    routing names, `serves` is None where it is chat.
    """

    id: str
    owned_by: str
    tier: str | None = None
    context_window: int | None = None
    serves: str | None = None
