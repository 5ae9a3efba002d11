"""The decision: capability filter, then score against threshold, then the tier's first choice."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NoReturn, Protocol

from gateway.core.cascade import Cascade
from gateway.core.decision import Contribution, Exclusion, Explanation, RouteDecision
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import (
    CapabilityMissing,
    ContextTooLong,
    EngineUnavailable,
    ModelNotFound,
)
from gateway.core.interfaces import Balancer
from gateway.core.names import ServedName
from gateway.core.request import Caller, ChatRequest
from gateway.routing.affinity import Affinity, is_continued, session_of
from gateway.routing.capability import CapabilityFilter, needs_of
from gateway.routing.classifier import Assessment, Messages
from gateway.routing.names import AUTO, Asked, Names
from gateway.routing.policy import Policy, TierUsd

Fallback = Literal["any_tier", "same_tier", "none"]


class DifficultyScorer(Protocol):
    """What scores conversations and explains its scores."""

    @property
    def version(self) -> str:
        """Stamped into every decision."""

    def assess(self, messages: Messages) -> Assessment:
        """The probability (0..1) that the small tier's answer falls short, and whether it holds."""

    def contributions(self, messages: Messages) -> tuple[Contribution, ...]:
        """What led to the score."""


@dataclass(slots=True, frozen=True)
class Experiment:
    """What is tried out on live traffic.

    A `share` of the routed requests goes to a tier by chance, so that outcomes of both tiers are
    known; `shadow` scores every routed request and decides none.
    """

    share: float = 0.0
    shadow: DifficultyScorer | None = None
    chance: Callable[[], float] = random.random


@dataclass(slots=True, frozen=True)
class _Weighed:
    """The tier that a request should go to, why, and the deployment where one is preferred."""

    tier: Tier
    reason: str | None = None
    preferred: Deployment | None = None
    propensity: float = 1.0
    rules: tuple[str, ...] = ()


class Router:
    """Chooses deployments. Synchronous, without I/O, safe to share between requests."""

    def __init__(  # noqa: PLR0913 (the parts of a decision)
        self,
        *,
        deployments: Sequence[Deployment],
        policies: Mapping[str, Policy],
        default_policy: str,
        scorer: DifficultyScorer,
        capability_filter: CapabilityFilter,
        model_map: Mapping[str, str] | None = None,
        fallback: Fallback = "any_tier",
        affinity: Affinity | None = None,
        experiment: Experiment | None = None,
        balance: Balancer | None = None,
        tier_usd: Callable[[ChatRequest], TierUsd | None] = lambda _: None,
        embedding_names: Collection[str] = (),
    ) -> None:
        """`tier_usd` estimates what a request costs on the small and on the large tier.

        `embedding_names` are other deployments', which can't chat.
        """
        self._deployments = tuple(deployments)
        self.policies = dict(policies)
        self._names = Names(deployments, policies, default_policy, model_map or {}, embedding_names)
        self._scorer = scorer
        self._filter = capability_filter
        self._fallback = fallback
        self._affinity = affinity
        self._experiment = experiment or Experiment()
        self._balance = balance
        self._tier_usd = tier_usd

    @property
    def version(self) -> str:
        """The scorer's version."""
        return self._scorer.version

    def warm(self) -> None:
        """Load what the first score needs, so that no request has to wait for it."""
        self._scorer.assess([{"role": "user", "content": "Hello"}])

    def decide(self, request: ChatRequest, caller: Caller) -> RouteDecision:
        """Choose a deployment for a live request.

        Raises ModelNotFound, InvalidRequest (a bad override), CapabilityMissing, ContextTooLong,
        or EngineUnavailable where the only choice can't be called.
        """
        asked = self._names.asked(request.model, caller)
        decision = self._decided(request, caller, asked, self._experiment, is_live=True)
        if asked.policy is not None and decision.score is not None:
            forced = _FORCED.get(decision.tier) if _is_foreign(decision) else None
            score = decision.score if forced is None else forced
            asked.policy.source.observe(score, lambda: self._tier_usd(request))
        return decision

    def degraded(
        self, request: ChatRequest, caller: Caller, decision: RouteDecision
    ) -> RouteDecision | None:
        """The small tier in place of what was decided, for want of money; None where it can't.

        Its members have to be able to serve the request, and its key to ask for them.
        """
        needs = needs_of(request)
        key = caller.key
        eligible = [
            one
            for one in self._deployments
            if one.tier is Tier.SMALL
            and (key is None or key.allows((AUTO, one.name, *one.aliases)))
            and self._filter.exclusion(one, request, needs) is None
        ]
        if not eligible:
            return None
        chosen, *others = self._in_order(eligible, _Weighed(Tier.SMALL), is_live=True)
        return replace(
            decision,
            deployment=chosen,
            reason="budget",
            fallbacks=() if self._fallback == "none" else tuple(others),
            propensity=1.0,
            runner_up=next(iter(others), None),
            cascade=None,
            escalation=None,
        )

    def explain(self, request: ChatRequest, caller: Caller) -> Explanation:
        """The decision that `decide` makes where chance doesn't, with what led to its score."""
        decision = self.preview(request, caller)
        if decision.score is None:
            return Explanation(decision)
        return Explanation(decision, self._scorer.contributions(request.messages))

    def preview(self, request: ChatRequest, caller: Caller) -> RouteDecision:
        """The decision that `decide` makes where chance doesn't; nothing is learnt from it."""
        asked = self._names.asked(request.model, caller)
        quiet = replace(self._experiment, share=0.0)
        return self._decided(request, caller, asked, quiet, is_live=False)

    def answered(self, session: str, key_id: str | None, deployment: str) -> None:
        """Learn who answered a key's conversation, so that it can stay there."""
        if self._affinity is not None and any(one.name == deployment for one in self._deployments):
            self._affinity.sessions.answered((key_id, session), deployment)

    def models(self) -> list[ServedName]:
        """Every name that a client may send: routing names, deployments, aliases."""
        return self._names.served()

    def _decided(
        self,
        request: ChatRequest,
        caller: Caller,
        asked: Asked,
        experiment: Experiment,
        *,
        is_live: bool,
    ) -> RouteDecision:
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
        return self._scored(request, caller, asked, experiment, eligible, excluded, is_live=is_live)

    def _scored(
        self,
        request: ChatRequest,
        caller: Caller,
        asked: Asked,
        experiment: Experiment,
        eligible: Sequence[Deployment],
        excluded: tuple[Exclusion, ...],
        *,
        is_live: bool,
    ) -> RouteDecision:
        policy = asked.policy
        assert policy is not None  # noqa: S101 (nothing is pinned here)
        threshold = policy.threshold if asked.threshold is None else asked.threshold
        assessment = self._scorer.assess(request.messages)
        session = caller.session or session_of(request.messages, caller.key_id)
        weighed = _by_score(assessment, threshold, policy if asked.threshold is None else None)
        weighed = self._kept(
            weighed, request, caller, session, assessment.score, threshold, eligible
        )
        if asked.threshold is None:
            weighed = _explored(weighed, experiment, eligible)
        in_order = self._in_order(eligible, weighed, is_live=is_live)
        chosen = in_order[0]
        shadow = experiment.shadow
        cascade, escalation = _cascade(policy, weighed, in_order)
        return RouteDecision(
            deployment=chosen,
            reason=_reason(weighed, chosen, excluded),
            router_version=self._scorer.version,
            score=assessment.score,
            threshold=threshold,
            policy=policy.name,
            fallbacks=self._fallbacks(chosen, in_order[1:]),
            excluded=excluded,
            propensity=weighed.propensity,
            session=session,
            runner_up=next(iter(in_order[1:]), None),
            rules=(f"form:{assessment.form}", *weighed.rules),
            shadow_version=None if shadow is None else shadow.version,
            shadow_score=None if shadow is None else shadow.assess(request.messages).score,
            cascade=cascade,
            escalation=escalation,
        )

    def _kept(
        self,
        weighed: _Weighed,
        request: ChatRequest,
        caller: Caller,
        session: str,
        score: float,
        threshold: float,
        eligible: Sequence[Deployment],
    ) -> _Weighed:
        """What affinity makes of it: a conversation changes its model for a clear gain only."""
        if self._affinity is None or not (caller.session or is_continued(request.messages)):
            return weighed
        name = self._affinity.sessions.last((caller.key_id, session))
        last = next((one for one in eligible if one.name == name), None)
        if last is None:
            return weighed
        if last.tier is weighed.tier:
            return replace(weighed, preferred=last)
        if weighed.reason is not None:  # the score doesn't hold, so there is no gain to weigh
            return weighed
        margin = self._affinity.margin(request, last, threshold)
        gain = abs(score - threshold)
        if gain >= margin:
            rule = f"affinity:left {last.name}, gain {gain:.4f} >= {margin:.4f}"
            return replace(weighed, rules=(*weighed.rules, rule))
        rule = f"affinity:kept {last.name}, gain {gain:.4f} < {margin:.4f}"
        return replace(
            weighed,
            tier=last.tier,
            reason="affinity",
            preferred=last,
            rules=(*weighed.rules, rule),
        )

    def _in_order(
        self, eligible: Sequence[Deployment], weighed: _Weighed, *, is_live: bool
    ) -> Sequence[Deployment]:
        """The wanted tier's deployments, then the other one's; a preferred one first."""
        own = [one for one in eligible if one.tier is weighed.tier]
        others = [one for one in eligible if one.tier is not weighed.tier]
        preferred = weighed.preferred
        balance = self._balance
        if balance is not None:
            if preferred is not None and balance.is_resting(preferred):
                preferred = None
            own = [*balance.order(own, advance=is_live and preferred is None)]
            others = [*balance.order(others, advance=False)]
        own.sort(key=lambda one: one is not preferred)
        return [*own, *others]

    def _fallbacks(
        self, chosen: Deployment, others: Sequence[Deployment]
    ) -> tuple[Deployment, ...]:
        if self._fallback == "none":
            return ()
        same = tuple(one for one in others if one.tier is chosen.tier)
        if self._fallback == "same_tier":
            return same
        return (*same, *(one for one in others if one.tier is not chosen.tier))


#: What a target counts a question as that a rule has sent to a tier.
_FORCED = {Tier.SMALL: 0.0, Tier.LARGE: 1.0}


def _is_foreign(decision: RouteDecision) -> bool:
    return decision.reason.startswith("foreign_")


def _by_score(assessment: Assessment, threshold: float, policy: Policy | None) -> _Weighed:
    """The score's side of the threshold; the safe side of `policy` where the score can't tell."""
    if policy is not None and assessment.foreign is not None:
        rule = f"{assessment.foreign}:{policy.safe_side}"
        return _Weighed(policy.safe_side, reason=assessment.foreign, rules=(rule,))
    return _Weighed(Tier.LARGE if assessment.score >= threshold else Tier.SMALL)


def _explored(
    weighed: _Weighed, experiment: Experiment, eligible: Sequence[Deployment]
) -> _Weighed:
    """Now and then a tier by chance: each is then known to be taken with some propensity."""
    share = experiment.share
    # What a rule sends elsewhere than its score is no evidence on scores.
    if not share or weighed.reason is not None or len({one.tier for one in eligible}) < 2:
        return weighed
    likely = 1 - share / 2
    if experiment.chance() >= share:
        return replace(weighed, propensity=likely)
    tier = Tier.LARGE if experiment.chance() < 0.5 else Tier.SMALL
    return _Weighed(
        tier,
        reason="explored",
        propensity=likely if tier is weighed.tier else share / 2,
        rules=(*weighed.rules, f"explored:{share:g}"),
    )


def _cascade(
    policy: Policy, weighed: _Weighed, in_order: Sequence[Deployment]
) -> tuple[Cascade | None, Deployment | None]:
    """The policy's cascade and whom it escalates to, where the small tier wasn't just tried out."""
    is_small = weighed.tier is Tier.SMALL and weighed.reason != "explored"
    if policy.cascade is None or not is_small:
        return None, None
    large = next((one for one in in_order if one.tier is Tier.LARGE), None)
    if large is None or in_order[0].tier is not Tier.SMALL:
        return None, None
    return policy.cascade, large


def _reason(weighed: _Weighed, chosen: Deployment, excluded: Sequence[Exclusion]) -> str:
    wanted = weighed.tier
    if chosen.tier is wanted:
        if weighed.reason is not None:
            return weighed.reason
        return "above_threshold" if wanted is Tier.LARGE else "below_threshold"
    # The wanted tier has nothing left: because of what the request needs, or nothing at all.
    words = [out.reason for out in excluded if out.deployment.tier is wanted]
    needs = [word for word in words if word != "unavailable"]
    return needs[0] if needs else f"no_{wanted.value}_backend"


def _refuse(request: ChatRequest, excluded: Sequence[Exclusion]) -> NoReturn:
    """Nothing can serve the request: say which deployments there are and what each lacks."""
    if not excluded:
        raise ModelNotFound("No deployment here answers chats.", param="model")
    lacks = "; ".join(
        f"{out.deployment.name}: {out.reason}{f' ({out.detail})' if out.detail else ''}"
        for out in excluded
    )
    reasons = {out.reason for out in excluded} - {"unavailable"}
    said = "prompt" if request.wire == "completions" else "messages"
    if not reasons:
        raise EngineUnavailable(f"No deployment can be called now ({lacks}).", status=503)
    if reasons == {"context_too_long"}:
        raise ContextTooLong(
            f"The conversation is too long for '{request.model}' ({lacks}).", param=said
        )
    params = [
        said if out.reason == "needs_language" else out.detail
        for out in excluded
        if out.reason.startswith("needs_") or out.reason == "unsupported_field"
    ]
    raise CapabilityMissing(
        f"No deployment of '{request.model}' can serve this request ({lacks}).",
        param=params[0] if params else None,
    )
