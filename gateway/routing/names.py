"""What a request asks for: a deployment by name, or a policy and perhaps its own threshold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import NoReturn

from gateway.core.deployment import Deployment
from gateway.core.errors import InvalidRequest, ModelNotAllowed, ModelNotFound
from gateway.core.names import ServedName
from gateway.core.request import Caller
from gateway.routing.policy import Policy

AUTO = "auto"


@dataclass(slots=True, frozen=True)
class Asked:
    """A deployment that was named, or a policy; `threshold` is the request's own, if any."""

    pinned: Deployment | None = None
    policy: Policy | None = None
    threshold: float | None = None


class Names:
    """Every name that a client may send."""

    def __init__(
        self,
        deployments: Sequence[Deployment],
        policies: Mapping[str, Policy],
        default_policy: str,
        model_map: Mapping[str, str],
        embedding_names: Collection[str] = (),
    ) -> None:
        """`model_map` maps names that clients send (globs) to names served here.

        `embedding_names` are known too, but can't chat.
        """
        self._embedding_names = frozenset(embedding_names)
        self._deployments = tuple(deployments)
        self._by_name = {name: one for one in deployments for name in (one.name, *one.aliases)} | {
            name: replace(one, adapter=name) for one in deployments for name in one.adapters
        }
        self._policies = dict(policies)
        self._default_policy = self._policies[default_policy]
        self._model_map = dict(model_map)

    def asked(self, model: str, caller: Caller) -> Asked:
        """What a model name and the caller's headers ask for.

        Raises ModelNotFound, ModelNotAllowed, or InvalidRequest for a bad threshold or policy.
        """
        sent = model
        if model not in self._by_name and not _is_routing_name(model):
            model = self._mapped(model, caller)
        pinned = self._by_name.get(model)
        if pinned is not None:
            own = () if pinned.adapter else (pinned.name, *pinned.aliases)
            check_allowed(caller, sent, (model, *own))
            return Asked(pinned=pinned)
        threshold = caller.threshold
        name = caller.policy
        if model.startswith(f"{AUTO}:"):
            name = model.removeprefix(f"{AUTO}:")
        elif model.startswith(f"{AUTO}@"):
            threshold = _threshold_in(model)
        policy = self._default_policy if name is None else self._policies.get(name)
        if policy is None:
            self._unknown_policy(str(name), from_model=model.startswith(f"{AUTO}:"))
        check_allowed(caller, sent, (AUTO, f"{AUTO}:{policy.name}"))
        return Asked(policy=policy, threshold=threshold)

    def served(self) -> list[ServedName]:
        """Routing names, deployments, aliases, adapters."""
        routing = [AUTO, *(f"{AUTO}:{name}" for name in self._policies)]
        return [
            *(ServedName(name, "slm-gateway") for name in routing),
            *(
                ServedName(name, one.backend, one.tier.value, one.context_window)
                for one in self._deployments
                for name in (one.name, *one.aliases, *one.adapters)
            ),
        ]

    def _mapped(self, model: str, caller: Caller) -> str:
        """The name that the configuration maps this one to. Raises ModelNotFound."""
        target = model
        if model not in self._embedding_names:
            maps = (to for pattern, to in self._model_map.items() if fnmatchcase(model, pattern))
            target = next(maps, "")
        if target and target not in self._embedding_names:
            return target
        problem = "makes embeddings and can't chat" if target else "does not exist here"
        key = caller.key
        served = ", ".join(
            name.id for name in self.served() if key is None or key.allows((name.id,))
        )
        raise ModelNotFound(f"The model '{model}' {problem}; there are: {served}.", param="model")

    def _unknown_policy(self, name: str, *, from_model: bool) -> NoReturn:
        known = ", ".join(self._policies)
        message = f"There is no policy '{name}'; there are: {known}."
        if from_model:
            raise ModelNotFound(message, param="model")
        raise InvalidRequest(message, param="x-gateway-policy")


def check_allowed(caller: Caller, sent: str, names: Iterable[str]) -> None:
    """Whether the caller's key may ask for what has these names. Raises ModelNotAllowed."""
    key = caller.key
    if key is None or key.models is None or key.allows((sent, *names)):
        return
    allowed = ", ".join(sorted(key.models))
    asked = f"the model '{sent}'" if sent else "this endpoint"
    raise ModelNotAllowed(
        f"The key '{key.name}' may not use {asked}; it may use: {allowed}.", param="model"
    )


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
