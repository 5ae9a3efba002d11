"""Who makes embeddings: chosen by name, never by difficulty."""

from typing import Any

import orjson
import pytest

from gateway.api.embeddings import EmbeddingsFormat
from gateway.api.parse import parse_chat
from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import CapabilityMissing, EngineUnavailable, ModelNotFound
from gateway.core.request import Caller, ChatRequest
from gateway.routing.embeddings import ByEndpoint, EmbeddingsRouter

CALLER = Caller("req_1")
CHAT = Deployment("gpt", Tier.LARGE, "openai", "gpt-4o", aliases=("big",))
LOCAL = Deployment("minilm", Tier.SMALL, "local", "minilm", serves="embeddings", vector_size=384)


def remote(name: str, model: str = "te3", tier: Tier = Tier.LARGE, **fields: Any) -> Deployment:
    return Deployment(name, tier, "openai", model, serves="embeddings", **fields)


def request(model: str = "auto", given: object = "x", **fields: Any) -> ChatRequest:
    return EmbeddingsFormat().parse(orjson.dumps({"model": model, "input": given, **fields}))


def decided(
    asked: ChatRequest, *deployments: Deployment, **options: Any
) -> tuple[str, str, list[str]]:
    router = EmbeddingsRouter(deployments, others=[CHAT], **options)
    decision = router.decide(asked, CALLER)
    return decision.deployment.name, decision.reason, [one.name for one in decision.fallbacks]


def test_auto_is_the_first_and_only_its_model_answers_in_its_place() -> None:
    found = decided(request(), remote("a"), LOCAL, remote("b"), remote("c", "te3-large"))
    assert found == ("a", "embeddings", ["b"])


def test_a_name_or_an_alias_is_that_deployment_alone() -> None:
    deployments = (LOCAL, remote("a", aliases=("text-embedding-3-small",)), remote("b"))
    assert decided(request("b"), *deployments) == ("b", "pinned", [])
    assert decided(request("text-embedding-3-small"), *deployments) == ("a", "pinned", [])


@pytest.mark.parametrize(("fallback", "names"), [("same_tier", ["c"]), ("none", [])])
def test_the_configured_fallback_holds(fallback: str, names: list[str]) -> None:
    small = remote("b", tier=Tier.SMALL)
    found = decided(request(), remote("a"), small, remote("c"), fallback=fallback)
    assert found == ("a", "embeddings", names)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"given": [1, 2]}, "input"),
        ({"given": [[1], [2]]}, "input"),
        ({"dimensions": 256}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"input_type": "query"}, "input_type"),
    ],
)
def test_what_the_local_encoder_can_not_honour(fields: dict[str, Any], param: str) -> None:
    assert decided(request(**fields), LOCAL, remote("a")) == ("a", "embeddings", [])
    with pytest.raises(CapabilityMissing) as refused:
        decided(request("minilm", **fields), LOCAL, remote("a"))
    assert refused.value.param == param
    assert f"({param})" in refused.value.message


def test_what_asks_for_nothing_special_stays_local() -> None:
    neutral: dict[str, Any] = {
        "dimensions": 384,
        "encoding_format": "base64",
        "user": "me",
        "task": None,
    }
    assert decided(request(**neutral), LOCAL, remote("a")) == ("minilm", "embeddings", [])


def test_names_that_are_unknown_or_chat() -> None:
    for name in ("absent", "auto:cheap", "auto@0.5"):
        with pytest.raises(ModelNotFound, match=r"does not exist here.*auto, minilm, a") as refused:
            decided(request(name), LOCAL, remote("a"))
        assert refused.value.param == "model"
    for name in ("gpt", "big"):
        with pytest.raises(ModelNotFound, match="makes no embeddings"):
            decided(request(name), LOCAL)
    with pytest.raises(ModelNotFound, match="serve /v1/embeddings: none"):
        decided(request())


def test_the_model_map_applies() -> None:
    mapped = {"text-embedding-*": "minilm", "ada*": "auto", "old": "gpt"}
    ask = request("text-embedding-3-large")
    assert decided(ask, remote("a"), LOCAL, model_map=mapped)[:2] == ("minilm", "pinned")
    assert decided(request("ada-2"), remote("a"), LOCAL, model_map=mapped)[0] == "a"
    with pytest.raises(ModelNotFound, match="'gpt' makes no embeddings"):
        decided(request("old"), LOCAL, model_map=mapped)
    # A deployment's own name is never mapped, not even by a pattern that fits everything.
    with pytest.raises(ModelNotFound, match="'gpt' makes no embeddings"):
        decided(request("gpt"), LOCAL, model_map={"*": "auto"})


def test_one_that_can_not_be_called() -> None:
    away = remote("a", unavailable="KEY is not set")
    assert decided(request(), away, LOCAL)[0] == "minilm"
    with pytest.raises(EngineUnavailable, match="KEY is not set") as refused:
        decided(request("a"), away, LOCAL)
    assert refused.value.status == 503


def test_every_name_is_listed() -> None:
    names = EmbeddingsRouter([LOCAL, remote("a", aliases=("x",))]).models()
    assert [(one.id, one.serves) for one in names] == [
        ("minilm", "embeddings"),
        ("a", "embeddings"),
        ("x", "embeddings"),
    ]


def test_chats_go_to_the_router() -> None:
    class Router:
        def decide(self, request: ChatRequest, caller: Caller) -> RouteDecision:
            return RouteDecision(CHAT, "above_threshold", "r")

        def degraded(
            self, request: ChatRequest, caller: Caller, decision: RouteDecision
        ) -> RouteDecision | None:
            return RouteDecision(CHAT, "budget", "r")

    both = ByEndpoint(Router(), EmbeddingsRouter([LOCAL]))
    chat = parse_chat(b'{"model": "auto", "messages": [{"role": "user", "content": "x"}]}')
    assert both.decide(chat, CALLER).deployment is CHAT
    assert both.decide(request(), CALLER).deployment is LOCAL
    decision = both.decide(request(), CALLER)
    assert both.degraded(request(), CALLER, decision) is None, "vectors can't be mixed"
    assert both.degraded(chat, CALLER, decision) is not None
