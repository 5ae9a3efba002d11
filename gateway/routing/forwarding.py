"""Where a request goes that only an upstream of OpenAI's API can serve; nothing is scored."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import CapabilityMissing, EngineUnavailable, ModelNotFound
from gateway.core.forwarding import PASSTHROUGH, ForwardedRequest
from gateway.core.request import Caller
from gateway.routing.names import AUTO, check_allowed

BACKEND = "openai"
_AUTO = ("auto", "auto:", "auto@")


class ForwardingRouter:
    """The deployment that a request names, else the first of the large tier that can be called."""

    def __init__(
        self, deployments: Sequence[Deployment], usual: Sequence[Deployment], *, version: str
    ) -> None:
        """`usual` are those that other models' names go to; `version` is the router's."""
        self._by_name = {name: one for one in deployments for name in (one.name, *one.aliases)}
        self._usual = [one for one in usual if one.backend == BACKEND and one.tier is Tier.LARGE]
        self._version = version

    def decide(self, request: ForwardedRequest, caller: Caller) -> RouteDecision:
        """Choose a deployment, without I/O.

        Raises CapabilityMissing where the one that is named can't serve it, ModelNotFound or
        EngineUnavailable where there is none to call, ModelNotAllowed where the key may not.
        """
        model = request.model
        named = self._by_name.get(model)
        if named is None and (model == _AUTO[0] or model.startswith(_AUTO[1:])):
            raise CapabilityMissing(
                f"'{model}' routes what either tier can answer; {request.endpoint} needs the name "
                "of an upstream's own model.",
                param="model",
            )
        if named is not None and named.backend != BACKEND:
            raise CapabilityMissing(
                f"The deployment '{named.name}' can't serve {request.endpoint}: its backend is "
                f"'{named.backend}', not '{BACKEND}'.",
                param="model",
            )
        chosen = self._default(request) if named is None else named
        # What names no model goes where routing might have sent it.
        unnamed = () if model else (AUTO,)
        own = () if model and named is None else (chosen.name, *chosen.aliases)
        check_allowed(caller, model, (*unnamed, *own))
        if chosen.unavailable is not None:
            message = f"The deployment {chosen.name} can't be called now ({chosen.unavailable})."
            raise EngineUnavailable(message, status=503)
        return RouteDecision(chosen, PASSTHROUGH, self._version)

    def _default(self, request: ForwardedRequest) -> Deployment:
        if not self._usual:
            raise ModelNotFound(
                f"{request.endpoint} is passed on to the large tier, which has no deployment with "
                f"the backend '{BACKEND}'.",
                code="unsupported_endpoint",
            )
        return min(self._usual, key=lambda one: one.unavailable is not None)
