import pytest

from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import CapabilityMissing, EngineUnavailable, GatewayError, ModelNotFound
from gateway.core.forwarding import ForwardedRequest
from gateway.core.request import Caller
from gateway.routing.forwarding import ForwardingRouter

SMALL = Deployment("mini", Tier.SMALL, "openai", "mini", ("tiny",))
SLM = Deployment("slm", Tier.SMALL, "local", "slm")
CLAUDE = Deployment("claude", Tier.LARGE, "anthropic", "claude")
UNSET = Deployment("paid", Tier.LARGE, "openai", "paid", unavailable="KEY is not set")
GPT = Deployment("gpt", Tier.LARGE, "openai", "gpt-4o")
VECTORS = Deployment("vectors", Tier.LARGE, "openai", "vectors")
ALL = (VECTORS, SMALL, SLM, CLAUDE, UNSET, GPT)


def decided(model: str, *deployments: Deployment) -> Deployment:
    known = deployments or ALL
    usual = [one for one in known if one is not VECTORS]
    decision = ForwardingRouter(known, usual, version="r").decide(
        ForwardedRequest("POST", "/images/edits", "/v1/images/edits", model=model), Caller("r")
    )
    assert (decision.reason, decision.score, decision.fallbacks) == ("passthrough", None, ())
    return decision.deployment


@pytest.mark.parametrize(
    ("model", "deployment"),
    [("", GPT), ("gpt-image-1", GPT), ("gpt-4o", GPT), ("tiny", SMALL), ("vectors", VECTORS)],
)
def test_a_name_decides_and_else_the_first_large_one_that_can_be_called(
    model: str, deployment: Deployment
) -> None:
    assert decided(model) is deployment


@pytest.mark.parametrize(
    ("model", "deployments", "error"),
    [
        ("auto", ALL, CapabilityMissing),
        ("auto@0.5", ALL, CapabilityMissing),
        ("slm", ALL, CapabilityMissing),
        ("claude", ALL, CapabilityMissing),
        ("paid", ALL, EngineUnavailable),
        ("whisper-1", (SMALL, UNSET), EngineUnavailable),
        ("whisper-1", (SMALL, SLM, CLAUDE, VECTORS), ModelNotFound),
    ],
)
def test_without_one_that_can_serve_it_the_request_is_refused(
    model: str, deployments: tuple[Deployment, ...], error: type[GatewayError]
) -> None:
    with pytest.raises(error):
        decided(model, *deployments)


def test_a_model_that_only_begins_like_routing_is_a_model() -> None:
    assert decided("autogpt") is GPT
