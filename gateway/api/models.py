"""`GET /v1/models` and `/v1/models/{id}`: every name that a client may send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fastapi import APIRouter, Request

from gateway.api.exchange import exchange_of
from gateway.core.access import ROUTING
from gateway.core.errors import ModelNotFound
from gateway.core.names import ServedName

#: OpenAI's field for the age of a model; ours have none that would mean anything.
_CREATED = 0


class Catalogue(Protocol):
    """What lists the names."""

    def models(self) -> Sequence[ServedName]:
        """Every name that a client may send, routing names first."""


def models_routes(catalogue: Catalogue) -> APIRouter:
    """The two endpoints over one catalogue."""
    router = APIRouter(prefix="/v1/models", tags=["models"])

    def allowed(request: Request) -> list[ServedName]:
        key = exchange_of(request.scope).key
        return [one for one in catalogue.models() if key is None or key.allows(_names_of(one.id))]

    @router.get("")
    async def list_models(request: Request) -> dict[str, Any]:
        """All names that the caller may send, in OpenAI's list object."""
        return {"object": "list", "data": [_wire(name) for name in allowed(request)]}

    @router.get("/{model_id:path}")
    async def retrieve_model(request: Request, model_id: str) -> dict[str, Any]:
        """One name, 404 `model_not_found` where there is none such."""
        for name in allowed(request):
            if name.id == model_id:
                return _wire(name)
        raise ModelNotFound(f"The model '{model_id}' does not exist.", param="model")

    return router


def _names_of(name: str) -> tuple[str, ...]:
    """A name, and what allows it too: whoever may ask for routing may choose the policy."""
    return (name, ROUTING) if name.startswith(f"{ROUTING}:") else (name,)


def _wire(name: ServedName) -> dict[str, Any]:
    return {
        "id": name.id,
        "object": "model",
        "created": _CREATED,
        "owned_by": name.owned_by,
        **({"tier": name.tier} if name.tier is not None else {}),
        **({"serves": name.serves} if name.serves is not None else {}),
        **({"context_window": name.context_window} if name.context_window is not None else {}),
    }
