"""`GET /healthz` (the process runs) and `GET /readyz` (it can answer)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Response

from gateway import __version__

Probe = Callable[[], Mapping[str, str | None]]


def health_routes(components: Probe, notes: Callable[[], Mapping[str, str]]) -> APIRouter:
    """`components` gives, by name, why each part isn't ready, None where it is.

    `notes` are what somebody should see to, though every part can answer.
    """
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process answers at all."""
        return {"status": "ok", "version": __version__}

    @router.get("/readyz")
    async def readyz(response: Response) -> dict[str, object]:
        """Whether every part can answer: 200, else 503 with what is missing."""
        states = components()
        ready = not any(states.values())
        response.status_code = 200 if ready else 503
        checks = {name: reason or "ready" for name, reason in states.items()}
        status: dict[str, object] = {"status": "ready" if ready else "not ready", "checks": checks}
        return {**status, "notes": noted} if (noted := notes()) else status

    return router
