"""What a virtual key may ask for."""

import pytest

from gateway.core.access import VirtualKey
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import ModelNotAllowed, ModelNotFound
from gateway.core.forwarding import ForwardedRequest
from gateway.core.request import Caller
from gateway.routing.forwarding import ForwardingRouter
from gateway.routing.names import Names
from gateway.routing.policy import FixedThreshold, Policy

SMALL = Deployment("small", Tier.SMALL, "local", "s", aliases=("tiny",), adapters=("lawyer",))
LARGE = Deployment("large", Tier.LARGE, "openai", "l")
POLICIES = {name: Policy(name, FixedThreshold(0.5)) for name in ("balanced", "cheap")}
NAMES = Names([SMALL, LARGE], POLICIES, "balanced", {"gpt-*": "auto"})


def caller(*models: str, policy: str | None = None) -> Caller:
    return Caller("r", policy=policy, key=VirtualKey("vk_1", "k", models=frozenset(models)))


@pytest.mark.parametrize(
    ("models", "asked"),
    [
        (("auto",), "auto"),
        (("auto",), "auto:cheap"),
        (("auto",), "auto@0.1"),
        (("auto",), "gpt-4"),
        (("gpt-4",), "gpt-4"),
        (("auto:cheap",), "auto:cheap"),
        (("small",), "tiny"),
        (("tiny",), "small"),
        (("lawyer",), "lawyer"),
    ],
)
def test_a_name_or_what_it_means_allows(models: tuple[str, ...], asked: str) -> None:
    NAMES.asked(asked, caller(*models))


@pytest.mark.parametrize(
    ("models", "asked"),
    [
        (("auto",), "large"),
        (("auto:cheap",), "auto"),
        (("small",), "auto"),
        (("small",), "gpt-4"),
        (("small",), "lawyer"),
    ],
)
def test_anything_else_is_refused_by_name(models: tuple[str, ...], asked: str) -> None:
    with pytest.raises(ModelNotAllowed, match=f"'k' may not use the model '{asked}'"):
        NAMES.asked(asked, caller(*models))


def test_a_policy_in_a_header_needs_to_be_allowed_too() -> None:
    with pytest.raises(ModelNotAllowed):
        NAMES.asked("auto", caller("auto:cheap"))
    assert NAMES.asked("auto", caller("auto:cheap", policy="cheap")).policy == POLICIES["cheap"]


def test_a_key_isnt_told_of_what_it_may_not_use() -> None:
    with pytest.raises(ModelNotFound) as found:
        NAMES.asked("absent", caller("small"))
    assert "large" not in found.value.message


@pytest.mark.parametrize(
    ("models", "asked", "is_allowed"),
    [
        (("large",), "large", True),
        (("large",), "", True),
        (("auto",), "", True),
        (("whisper-1",), "whisper-1", True),
        (("auto",), "whisper-1", False),
        (("large",), "whisper-1", False),
        (("small",), "", False),
    ],
)
def test_what_is_passed_on_needs_its_own_name(
    models: tuple[str, ...], asked: str, is_allowed: bool
) -> None:
    router = ForwardingRouter([SMALL, LARGE], [LARGE], version="r")
    request = ForwardedRequest("POST", "/files", "/v1/files", model=asked)
    if is_allowed:
        assert router.decide(request, caller(*models)).deployment is LARGE
    else:
        with pytest.raises(ModelNotAllowed):
            router.decide(request, caller(*models))
