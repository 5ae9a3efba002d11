"""Which deployment makes embeddings: the one that was named, or the first that can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, NoReturn, Protocol

from gateway.core.decision import Exclusion, RouteDecision
from gateway.core.deployment import Deployment
from gateway.core.errors import CapabilityMissing, EngineUnavailable, ModelNotFound
from gateway.core.names import ServedName
from gateway.core.request import Caller, ChatRequest
from gateway.routing.names import AUTO, check_allowed

#: What an encoder on this machine understands of a request.
_LOCAL_FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})
_LOCAL_FORMATS = frozenset({None, "float", "base64"})


class EmbeddingsRouter:
    """Chooses by name alone. Vectors of different models can't be compared, so nothing is scored.

    `auto` is the first deployment that can serve the request; only those of the same model may
    answer in its place.
    """

    def __init__(
        self,
        deployments: Sequence[Deployment],
        *,
        others: Sequence[Deployment] = (),
        model_map: Mapping[str, str] | None = None,
        fallback: Literal["any_tier", "same_tier", "none"] = "any_tier",
        version: str = "",
    ) -> None:
        """`others` are known by name and serve something else; `version` is the router's."""
        self._deployments = tuple(deployments)
        self._by_name = {name: one for one in deployments for name in (one.name, *one.aliases)}
        self._others = frozenset(name for one in others for name in (one.name, *one.aliases))
        self._model_map = dict(model_map or {})
        self._fallback = fallback
        self._version = version

    def decide(self, request: ChatRequest, caller: Caller) -> RouteDecision:
        """Choose a deployment.

        Raises ModelNotFound, ModelNotAllowed, CapabilityMissing, or EngineUnavailable where none
        can be called.
        """
        name = self._named(request.model)
        named = self._by_name.get(name)
        check_allowed(
            caller, request.model, (name, *((named.name, *named.aliases) if named else ()))
        )
        asked = self._deployments if name == AUTO else (self._by_name[name],)
        verdicts = [(one, _exclusion(one, request)) for one in asked]
        excluded = tuple(exclusion for _, exclusion in verdicts if exclusion is not None)
        eligible = [one for one, exclusion in verdicts if exclusion is None]
        if not eligible:
            _refuse(request, excluded)
        chosen = eligible[0]
        fallbacks = () if self._fallback == "none" else tuple(eligible[1:])
        return RouteDecision(
            deployment=chosen,
            reason="embeddings" if name == AUTO else "pinned",
            router_version=self._version,
            fallbacks=tuple(
                one
                for one in fallbacks
                if one.model == chosen.model
                and (self._fallback == "any_tier" or one.tier is chosen.tier)
            ),
            excluded=excluded,
        )

    def models(self) -> list[ServedName]:
        """Every name of a deployment that serves embeddings."""
        return [
            ServedName(name, one.backend, one.tier.value, one.context_window, "embeddings")
            for one in self._deployments
            for name in (one.name, *one.aliases)
        ]

    def _named(self, model: str) -> str:
        """`auto`, or a name that serves embeddings. Raises ModelNotFound."""
        if model not in self._by_name and model not in self._others:
            maps = (to for pattern, to in self._model_map.items() if fnmatchcase(model, pattern))
            model = AUTO if model == AUTO else next(maps, model)
        if model in self._by_name or (model == AUTO and self._deployments):
            return model
        served = ", ".join([AUTO, *self._by_name]) if self._by_name else "none"
        problem = "makes no embeddings" if model in self._others else "does not exist here"
        raise ModelNotFound(
            f"The model '{model}' {problem}; those that serve /v1/embeddings: {served}.",
            param="model",
        )


def _exclusion(deployment: Deployment, request: ChatRequest) -> Exclusion | None:
    """Why the deployment can't serve the request; what an upstream can, it says itself."""
    if deployment.unavailable is not None:
        return Exclusion(deployment, "unavailable", deployment.unavailable)
    if deployment.backend != "local":
        return None
    field = _field_refused(deployment, request)
    return None if field is None else Exclusion(deployment, "unsupported_field", field)


def _field_refused(deployment: Deployment, request: ChatRequest) -> str | None:
    """The field that an encoder on this machine can't honour."""
    payload = request.payload
    if request.prompt_tokens is not None:  # tokens of another model's
        return "input"
    if payload.get("dimensions") not in {None, deployment.vector_size}:
        return "dimensions"
    if payload.get("encoding_format") not in _LOCAL_FORMATS:
        return "encoding_format"
    unknown = (name for name in payload if name not in _LOCAL_FIELDS)
    return next((name for name in unknown if payload[name]), None)


def _refuse(request: ChatRequest, excluded: Sequence[Exclusion]) -> NoReturn:
    lacks = "; ".join(f"{out.deployment.name}: {out.reason} ({out.detail})" for out in excluded)
    fields = [out.detail for out in excluded if out.reason == "unsupported_field"]
    if not fields:
        raise EngineUnavailable(f"No deployment can be called now ({lacks}).", status=503)
    raise CapabilityMissing(
        f"No deployment of '{request.model}' can serve this request ({lacks}).", param=fields[0]
    )


class Decider(Protocol):
    """What chooses a deployment for a request."""

    def decide(self, request: ChatRequest, caller: Caller) -> RouteDecision:
        """Choose one, without I/O."""


class ChatDecider(Decider, Protocol):
    """One that knows a cheaper choice."""

    def degraded(
        self, request: ChatRequest, caller: Caller, decision: RouteDecision
    ) -> RouteDecision | None:
        """The small tier in place of what was decided; None where it can't."""


class ByEndpoint:
    """Embeddings have a decider of their own; everything else is the router's."""

    def __init__(self, router: ChatDecider, embeddings: Decider) -> None:
        self._router = router
        self._embeddings = embeddings

    def decide(self, request: ChatRequest, caller: Caller) -> RouteDecision:
        """Choose a deployment."""
        decider = self._embeddings if request.wire == "embeddings" else self._router
        return decider.decide(request, caller)

    def degraded(
        self, request: ChatRequest, caller: Caller, decision: RouteDecision
    ) -> RouteDecision | None:
        """The small tier in place of what was decided; None of embeddings, which can't be mixed."""
        if request.wire == "embeddings":
            return None
        return self._router.degraded(request, caller, decision)
