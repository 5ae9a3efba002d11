"""The decision: capability filter, then score against threshold, then the tier's first choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, NoReturn, Protocol

from gateway.core.cascade import Cascade
from gateway.core.decision import Contribution, Exclusion, Explanation, RouteDecision
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import (
    CapabilityMissing,
    ContextTooLong,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)
from gateway.core.names import ServedName
from gateway.core.request import Caller, ChatRequest
from gateway.routing.capability import CapabilityFilter, needs_of
from gateway.routing.classifier import Messages

AUTO = "auto"

Fallback = Literal["any_tier", "same_tier", "none"]


class DifficultyScorer(Protocol):
    """What scores conversations and explains its scores."""

    @property
    def version(self) -> str:
        """Stamped into every decision."""

    def score(self, messages: Messages) -> float:
        """The probability (0..1) that the small tier's answer falls short."""

    def contributions(self, messages: Messages) -> tuple[Contribution, ...]:
        """What led to the score."""


@dataclass(slots=True, frozen=True)
class Policy:
    """A named threshold, and whether what it sends to the small tier is watched."""

    name: str
    threshold: float
    cascade: Cascade | None = None


@dataclass(slots=True, frozen=True)
class _Asked:
    """What a request asks for: a deployment by name, or a policy with a threshold."""

    pinned: Deployment | None = None
    policy: Policy | None = None
    threshold: float = 0.0


class Router:
    """Chooses deployments. Synchronous, without I/O, safe to share between requests."""

    def __init__(
        self,
        *,
        deployments: Sequence[Deployment],
        policies: Mapping[str, Policy],
        default_policy: str,
        scorer: DifficultyScorer,
        capability_filter: CapabilityFilter,
        model_map: Mapping[str, str] | None = None,
        fallback: Fallback = "any_tier",
    ) -> None:
        """`model_map` maps names that clients send (globs) to names served here."""
        self._deployments = tuple(deployments)
        self._by_name = {name: one for one in deployments for name in (one.name, *one.aliases)}
        self.policies = dict(policies)
        self._default_policy = self.policies[default_policy]
        self._scorer = scorer
        self._filter = capability_filter
        self._model_map = dict(model_map or {})
        self._fallback = fallback

    def decide(self, request: ChatRequest, caller: Caller) -> RouteDecision:
        """Choose a deployment.

        Raises ModelNotFound, InvalidRequest (a bad override), CapabilityMissing, ContextTooLong,
        or EngineUnavailable where the only choice can't be called.
        """
        asked = self._asked(request.model, caller)
        needs = needs_of(request)
        if asked.pinned is not None:
            exclusion = self._filter.exclusion(asked.pinned, request, needs)
            if exclusion is not None:
                _refuse(request, (exclusion,))
            return RouteDecision(asked.pinned, "pinned", self._scorer.version)
        verdicts = [(one, self._filter.exclusion(one, request, needs)) for one in self._deployments]
        eligible = [one for one, exclusion in verdicts if exclusion is None]
        excluded = tuple(exclusion for _, exclusion in verdicts if exclusion is not None)
        if not eligible:
            _refuse(request, excluded)
        score = self._scorer.score(request.messages)
        wanted = Tier.LARGE if score >= asked.threshold else Tier.SMALL
        in_order = sorted(eligible, key=lambda one: one.tier is not wanted)  # stable
        chosen = in_order[0]
        cascade, escalation = _cascade(asked.policy, wanted, in_order)
        return RouteDecision(
            deployment=chosen,
            reason=_reason(wanted, chosen, excluded),
            router_version=self._scorer.version,
            score=score,
            threshold=asked.threshold,
            policy=asked.policy.name if asked.policy is not None else None,
            fallbacks=self._fallbacks(chosen, in_order[1:]),
            excluded=excluded,
            cascade=cascade,
            escalation=escalation,
        )

    def explain(self, request: ChatRequest, caller: Caller) -> Explanation:
        """The decision that `decide` makes, with what led to its score."""
        decision = self.decide(request, caller)
        if decision.score is None:
            return Explanation(decision)
        return Explanation(decision, self._scorer.contributions(request.messages))

    def models(self) -> list[ServedName]:
        """Every name that a client may send: routing names, deployments, aliases."""
        routing = [AUTO, *(f"{AUTO}:{name}" for name in self.policies)]
        return [
            *(ServedName(name, "slm-gateway") for name in routing),
            *(
                ServedName(name, one.backend, one.tier.value, one.context_window)
                for one in self._deployments
                for name in (one.name, *one.aliases)
            ),
        ]

    def _asked(self, model: str, caller: Caller) -> _Asked:
        if model not in self._by_name and not _is_routing_name(model):
            model = self._mapped(model)
        pinned = self._by_name.get(model)
        if pinned is not None:
            return _Asked(pinned=pinned)
        threshold = caller.threshold
        name = caller.policy
        if model.startswith(f"{AUTO}:"):
            name = model.removeprefix(f"{AUTO}:")
        elif model.startswith(f"{AUTO}@"):
            threshold = _threshold_in(model)
        policy = self._default_policy if name is None else self.policies.get(name)
        if policy is None:
            self._unknown_policy(str(name), from_model=model.startswith(f"{AUTO}:"))
        return _Asked(policy=policy, threshold=policy.threshold if threshold is None else threshold)

    def _mapped(self, model: str) -> str:
        """The name that the configuration maps this one to. Raises ModelNotFound."""
        for pattern, target in self._model_map.items():
            if fnmatchcase(model, pattern):
                return target
        served = ", ".join(name.id for name in self.models())
        raise ModelNotFound(
            f"The model '{model}' does not exist here; there are: {served}.", param="model"
        )

    def _unknown_policy(self, name: str, *, from_model: bool) -> NoReturn:
        known = ", ".join(self.policies)
        message = f"There is no policy '{name}'; there are: {known}."
        if from_model:
            raise ModelNotFound(message, param="model")
        raise InvalidRequest(message, param="x-gateway-policy")

    def _fallbacks(
        self, chosen: Deployment, others: Sequence[Deployment]
    ) -> tuple[Deployment, ...]:
        if self._fallback == "none":
            return ()
        same = tuple(one for one in others if one.tier is chosen.tier)
        if self._fallback == "same_tier":
            return same
        return (*same, *(one for one in others if one.tier is not chosen.tier))


def _is_routing_name(model: str) -> bool:
    return model == AUTO or model.startswith((f"{AUTO}:", f"{AUTO}@"))


def _threshold_in(model: str) -> float:
    text = model.removeprefix(f"{AUTO}@")
    try:
        threshold = float(text)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise InvalidRequest(
            f"'{model}' must name a threshold from 0 to 1, such as {AUTO}@0.35.", param="model"
        )
    return threshold


def _cascade(
    policy: Policy | None, wanted: Tier, in_order: Sequence[Deployment]
) -> tuple[Cascade | None, Deployment | None]:
    """The policy's cascade and whom it escalates to, where the score chose the small tier."""
    if policy is None or policy.cascade is None or wanted is not Tier.SMALL:
        return None, None
    large = next((one for one in in_order if one.tier is Tier.LARGE), None)
    if large is None or in_order[0].tier is not Tier.SMALL:
        return None, None
    return policy.cascade, large


def _reason(wanted: Tier, chosen: Deployment, excluded: Sequence[Exclusion]) -> str:
    if chosen.tier is wanted:
        return "above_threshold" if wanted is Tier.LARGE else "below_threshold"
    # The wanted tier has nothing left: because of what the request needs, or nothing at all.
    words = [out.reason for out in excluded if out.deployment.tier is wanted]
    needs = [word for word in words if word != "unavailable"]
    return needs[0] if needs else f"no_{wanted.value}_backend"


def _refuse(request: ChatRequest, excluded: Sequence[Exclusion]) -> NoReturn:
    """Nothing can serve the request: say which deployments there are and what each lacks."""
    lacks = "; ".join(
        f"{out.deployment.name}: {out.reason}{f' ({out.detail})' if out.detail else ''}"
        for out in excluded
    )
    reasons = {out.reason for out in excluded} - {"unavailable"}
    if not reasons:
        raise EngineUnavailable(f"No deployment can be called now ({lacks}).", status=503)
    if reasons == {"context_too_long"}:
        raise ContextTooLong(
            f"The conversation is too long for '{request.model}' ({lacks}).", param="messages"
        )
    params = [out.detail for out in excluded if out.reason.startswith("needs_")]
    raise CapabilityMissing(
        f"No deployment of '{request.model}' can serve this request ({lacks}).",
        param=params[0] if params else None,
    )
