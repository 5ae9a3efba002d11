"""`GET /healthz` (the process runs) and `GET /readyz` (it can answer)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Response

from gateway import __version__

Probe = Callable[[], Mapping[str, str | None]]


def health_routes(
    not_ready: Probe, degraded: Probe, notes: Callable[[], Mapping[str, str]]
) -> APIRouter:
    """`not_ready` and `degraded` give, by part, what is wrong or None.

    What is degraded answers all the same. `notes` are what somebody should see to.
    """
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process answers at all."""
        return {"status": "ok", "version": __version__}

    @router.get("/readyz")
    async def readyz(response: Response) -> dict[str, object]:
        """Whether every part can answer: 200, else 503 with what is missing."""
        states = not_ready()
        checks = {name: reason or "ready" for name, reason in states.items()}
        if any(states.values()):
            response.status_code = 503
            return {"status": "not ready", "checks": checks}
        lame = {name: f"degraded: {reason}" for name, reason in degraded().items() if reason}
        noted = notes()
        return {
            "status": "degraded" if lame else "ready",
            "checks": {**checks, **lame},
            **({"notes": noted} if noted else {}),
        }

    return router
