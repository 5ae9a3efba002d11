import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.completions import CompletionsFormat
from gateway.api.parse import parse_chat
from gateway.core.cascade import Cascade
from gateway.core.decision import Contribution
from gateway.core.deployment import ALL_CAPABILITIES, Capability, Deployment, Tier
from gateway.core.errors import (
    CapabilityMissing,
    ContextTooLong,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)
from gateway.core.request import Caller, ChatRequest
from gateway.routing.capability import CapabilityFilter
from gateway.routing.classifier import Assessment, load_scorer
from gateway.routing.policy import FixedThreshold, Policy
from gateway.routing.router import Experiment, Fallback, Router

SMALL = Deployment("slm", Tier.SMALL, "local", "slm", ("tiny",), frozenset(), context_window=2048)
LARGE = Deployment("gpt", Tier.LARGE, "openai", "gpt-4o", context_window=128_000)
SPARE = Deployment("claude", Tier.LARGE, "openai", "claude", context_window=200_000)
NO_KEY = Deployment("paid", Tier.LARGE, "openai", "paid", unavailable="KEY is not set")

CASCADE = Cascade(24, 0.6)
THRESHOLDS = {"balanced": 0.5, "cheap": 0.97}
EASY, HARD = "What is the capital of France?", "Prove that √2 + √3 is irrational."
SCORER = load_scorer()


def router(
    *deployments: Deployment,
    fallback: Fallback = "any_tier",
    unsupported: Mapping[str, Callable[[ChatRequest], str | None]] | None = None,
) -> Router:
    return Router(
        deployments=deployments or (SMALL, LARGE, SPARE),
        policies={
            **{name: Policy(name, FixedThreshold(t)) for name, t in THRESHOLDS.items()},
            "watched": Policy("watched", FixedThreshold(0.5), cascade=CASCADE),
        },
        default_policy="balanced",
        scorer=SCORER,
        capability_filter=CapabilityFilter({}, 256, unsupported or {}),
        model_map={"gpt-4*": "auto", "old": "slm", "broken": "nowhere"},
        fallback=fallback,
    )


def request(text: str = EASY, model: str = "auto", **fields: object) -> ChatRequest:
    messages = [{"role": "user", "content": text}]
    return parse_chat(orjson.dumps({"model": model, "messages": messages, **fields}))


ANYBODY = Caller("req_1")


def test_easy_goes_to_small_and_hard_to_large() -> None:
    easy = router().decide(request(EASY), ANYBODY)
    hard = router().decide(request(HARD), ANYBODY)
    assert (easy.deployment, easy.reason) == (SMALL, "below_threshold")
    assert (hard.deployment, hard.reason) == (LARGE, "above_threshold")
    assert easy.score is not None
    assert hard.score is not None
    assert easy.score < 0.5 <= hard.score
    assert hard.margin == hard.score - 0.5
    assert hard.router_version == SCORER.version


def test_a_score_that_equals_the_threshold_is_large() -> None:
    score = SCORER.score(request().messages)
    decision = router().decide(request(), Caller("r", threshold=score))
    assert decision.tier is Tier.LARGE


@pytest.mark.parametrize(
    ("model", "caller", "threshold"),
    [
        ("auto", Caller("r"), 0.5),
        ("auto:cheap", Caller("r"), 0.97),
        ("auto@0.35", Caller("r"), 0.35),
        ("auto", Caller("r", threshold=0.1), 0.1),
        ("auto", Caller("r", policy="cheap"), 0.97),
        ("gpt-4-turbo", Caller("r"), 0.5),
        ("auto:cheap", Caller("r", threshold=0.2), 0.2),
    ],
)
def test_which_threshold_counts(model: str, caller: Caller, threshold: float) -> None:
    assert router().decide(request(model=model), caller).threshold == threshold


@pytest.mark.parametrize(
    ("model", "deployment"), [("slm", SMALL), ("tiny", SMALL), ("old", SMALL), ("gpt", LARGE)]
)
def test_a_named_deployment_is_not_routed(model: str, deployment: Deployment) -> None:
    decision = router().decide(request(HARD, model), ANYBODY)
    assert (decision.deployment, decision.reason) == (deployment, "pinned")
    assert decision.score is None
    assert decision.fallbacks == ()


def test_an_adapter_is_its_deployment_by_another_name() -> None:
    adapted = replace(SMALL, adapters=("lawyer",))
    routed = router(adapted, LARGE)
    decision = routed.decide(request(HARD, "lawyer"), Caller("req"))
    assert (decision.deployment.name, decision.reason) == ("slm", "pinned")
    assert decision.deployment.adapter == "lawyer"
    assert routed.decide(request(HARD, "slm"), Caller("req")).deployment.adapter is None
    assert routed.decide(request(EASY), Caller("req")).deployment.adapter is None
    (served,) = [name for name in routed.models() if name.id == "lawyer"]
    assert (served.tier, served.context_window) == ("small", 2048)


@pytest.mark.parametrize("model", ["absent", "auto:fast", "AUTO"])
def test_unknown_names(model: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        router().decide(request(model=model), ANYBODY)
    assert caught.value.param == "model"


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(ModelNotFound, match=r"auto.*auto:cheap.*slm.*gpt"):
        router().decide(request(model="absent"), ANYBODY)


@pytest.mark.parametrize("model", ["auto@", "auto@high", "auto@1.5", "auto@-1", "auto@nan"])
def test_bad_thresholds_in_names(model: str) -> None:
    with pytest.raises(InvalidRequest):
        router().decide(request(model=model), ANYBODY)


def test_an_unknown_policy_in_a_header_is_no_missing_model() -> None:
    with pytest.raises(InvalidRequest) as caught:
        router().decide(request(), Caller("r", policy="fast"))
    assert caught.value.param == "x-gateway-policy"


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
TOOL = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tools": TOOL}, "needs_tools"),
        ({"messages": IMAGE}, "needs_vision"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "needs_json_schema"),
        ({"response_format": {"type": "json_object"}}, "needs_json_object"),
        ({"logprobs": True}, "needs_logprobs"),
        ({"n": 2}, "needs_n"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "needs_audio",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "needs_files"),
        ({"messages": [{"role": "tool", "content": "42", "tool_call_id": "c"}]}, "needs_tools"),
        ({"max_tokens": 5000}, "context_too_long"),
        ({"messages": [{"role": "user", "content": "word " * 20_000}]}, "context_too_long"),
    ],
)
def test_what_small_cannot_do_goes_to_large(fields: dict[str, object], reason: str) -> None:
    asked = request("Hi", "auto@1", **fields)
    decision = router().decide(asked, ANYBODY)
    assert decision.deployment is LARGE
    assert decision.reason == reason
    assert [out.deployment for out in decision.excluded] == [SMALL]
    with pytest.raises((CapabilityMissing, ContextTooLong)):
        router().decide(request("Hi", "slm", **fields), ANYBODY)


def completion(prompt: object, model: str = "auto", **fields: object) -> ChatRequest:
    return CompletionsFormat().parse(orjson.dumps({"model": model, "prompt": prompt, **fields}))


def test_a_text_that_no_chat_can_stand_for_goes_to_who_completes_texts() -> None:
    base = replace(SMALL, name="base", wires=frozenset({"chat", "completions"}))
    one = router(SMALL, base, LARGE)
    # Together the prompts are longer than the window; each of them fits.
    decision = one.decide(completion(["word " * 1500] * 100), ANYBODY)
    assert decision.deployment is base
    assert {out.reason for out in decision.excluded} == {"needs_completions_api"}
    with pytest.raises(CapabilityMissing) as caught:
        one.decide(completion("Hi", "gpt", echo=True), ANYBODY)
    assert caught.value.param == "echo"
    # `base` has no logprobs, and a chat can tell them too.
    assert one.decide(completion("Hi", logprobs=2), ANYBODY).deployment is LARGE


def test_a_text_that_is_too_long_is_the_prompts_fault() -> None:
    for asked in (completion("word " * 20_000, "slm"), completion("Hi", "slm", max_tokens=5000)):
        with pytest.raises(ContextTooLong) as caught:
            router().decide(asked, ANYBODY)
        assert caught.value.param == "prompt"


def test_a_backend_without_words_for_a_part_of_a_request_is_passed_over() -> None:
    unsupported = {"slm": lambda asked: "tools[0]" if asked.payload.get("tools") else None}
    small = replace(SMALL, capabilities=ALL_CAPABILITIES)
    one = router(small, LARGE, unsupported=unsupported)
    assert one.decide(request("Hi", "auto@1"), ANYBODY).deployment is small
    decision = one.decide(request("Hi", "auto@1", tools=TOOL), ANYBODY)
    assert (decision.deployment, decision.reason) == (LARGE, "unsupported_field")
    with pytest.raises(CapabilityMissing) as caught:
        one.decide(request("Hi", "slm", tools=TOOL), ANYBODY)
    assert caught.value.param == "tools[0]"


@pytest.mark.parametrize(
    ("fields", "is_refused"),
    [
        ({"seed": 0}, True),
        ({"seed": None}, False),
        ({"modalities": ["text"]}, False),
        ({"modalities": ["image"]}, True),
        ({"logit_bias": {}}, False),
        ({"logit_bias": {"1": 5}}, True),
    ],
)
def test_fields_that_a_backend_refuses(fields: dict[str, object], is_refused: bool) -> None:
    refusing = replace(SMALL, refused_fields=frozenset({"seed", "modalities", "logit_bias"}))
    decision = router(refusing, LARGE).decide(request("Hi", "auto@1", **fields), ANYBODY)
    assert (decision.deployment is LARGE) == is_refused


def test_what_needs_nothing_is_left_alone() -> None:
    asked = request("Hi", response_format={"type": "text"}, n=1, logprobs=False, tools=[])
    assert router().decide(asked, ANYBODY).deployment is SMALL


def test_a_pinned_deployment_names_the_field_at_fault() -> None:
    with pytest.raises(CapabilityMissing) as caught:
        router().decide(request("Hi", "slm", tools=TOOL), ANYBODY)
    assert caught.value.param == "tools"


def test_without_a_large_backend() -> None:
    decision = router(SMALL, NO_KEY).decide(request(HARD), ANYBODY)
    assert (decision.deployment, decision.reason) == (SMALL, "no_large_backend")
    with pytest.raises(CapabilityMissing):
        router(SMALL, NO_KEY).decide(request("Hi", tools=TOOL), ANYBODY)
    with pytest.raises(EngineUnavailable, match="KEY is not set"):
        router(SMALL, NO_KEY).decide(request("Hi", "paid"), ANYBODY)


def test_without_a_small_backend() -> None:
    decision = router(LARGE).decide(request(EASY), ANYBODY)
    assert (decision.deployment, decision.reason) == (LARGE, "no_small_backend")


@pytest.mark.parametrize(
    ("fallback", "names"),
    [("any_tier", ["claude", "slm"]), ("same_tier", ["claude"]), ("none", [])],
)
def test_fallbacks_in_order(fallback: Fallback, names: list[str]) -> None:
    decision = router(fallback=fallback).decide(request(HARD), ANYBODY)
    assert [one.name for one in decision.fallbacks] == names


@given(text=st.text(max_size=300), threshold=st.floats(0, 1))
def test_explain_is_decide(text: str, threshold: float) -> None:
    caller = Caller("r", threshold=threshold)
    explanation = router().explain(request(text), caller)
    assert explanation.decision == router().decide(request(text), caller)


def test_every_name_is_listed() -> None:
    names = {name.id: name for name in router().models()}
    assert list(names)[:3] == ["auto", "auto:balanced", "auto:cheap"]
    assert names["tiny"].tier == "small"
    assert names["gpt"].context_window == 128_000
    assert Capability.TOOLS in ALL_CAPABILITIES


GEORGIAN = "გთხოვთ დაამტკიცოთ ეს თეორემა"


@pytest.mark.parametrize("side", [Tier.SMALL, Tier.LARGE])
def test_what_the_score_can_t_judge_goes_to_the_policy_s_safe_side(side: Tier) -> None:
    one = Router(
        deployments=(SMALL, LARGE),
        policies={"p": Policy("p", FixedThreshold(0.5), side)},
        default_policy="p",
        scorer=SCORER,
        capability_filter=CapabilityFilter({}, 256),
    )
    decision = one.decide(request(GEORGIAN), ANYBODY)
    assert (decision.tier, decision.reason) == (side, "foreign_script")
    assert f"foreign_script:{side}" in decision.rules
    own = one.decide(request(GEORGIAN), Caller("r", threshold=0.0))
    assert (own.tier, own.reason) == (Tier.LARGE, "above_threshold"), "the client's number counts"


def explorer(share: float, *draws: float) -> Router:
    drawn = iter(draws)
    return Router(
        deployments=(SMALL, LARGE),
        policies={"p": Policy("p", FixedThreshold(0.5))},
        default_policy="p",
        scorer=SCORER,
        capability_filter=CapabilityFilter({}, 256),
        experiment=Experiment(share, chance=lambda: next(drawn)),
    )


@pytest.mark.parametrize(
    ("draws", "tier", "reason", "propensity"),
    [
        ((0.5,), Tier.SMALL, "below_threshold", 0.9),
        ((0.1, 0.4), Tier.LARGE, "explored", 0.1),
        ((0.1, 0.6), Tier.SMALL, "explored", 0.9),
    ],
)
def test_exploration_stores_the_probability_of_the_tier(
    draws: tuple[float, ...], tier: Tier, reason: str, propensity: float
) -> None:
    decision = explorer(0.2, *draws).decide(request(EASY), ANYBODY)
    assert (decision.tier, decision.reason) == (tier, reason)
    assert decision.propensity == pytest.approx(propensity)


def test_exploration_leaves_a_dry_run_and_a_client_s_threshold_alone() -> None:
    one = explorer(1.0)  # any draw would raise StopIteration
    assert one.explain(request(EASY), ANYBODY).decision.tier is Tier.SMALL
    assert one.decide(request(EASY), Caller("r", threshold=0.9)).propensity == 1.0


def test_what_a_rule_has_sent_is_not_explored() -> None:
    decision = explorer(1.0).decide(request(GEORGIAN), ANYBODY)  # any draw raises StopIteration
    assert (decision.reason, decision.propensity) == ("foreign_script", 1.0)


def test_exploration_happens_at_its_rate() -> None:
    chance = random.Random(1)
    one = explorer(0.3, *(chance.random() for _ in range(4_000)))
    decisions = [one.decide(request(EASY), ANYBODY) for _ in range(2_000)]
    explored = sum(decision.reason == "explored" for decision in decisions)
    large = sum(decision.tier is Tier.LARGE for decision in decisions)
    assert explored == pytest.approx(600, abs=60)
    assert large == pytest.approx(300, abs=45)


def test_a_shadow_scores_and_decides_nothing() -> None:
    class Contrary:
        version = "r2-shadow"

        def assess(self, messages: object) -> Assessment:
            return Assessment(0.99, "chat")

        def contributions(self, messages: object) -> tuple[Contribution, ...]:
            return ()

    one = Router(
        deployments=(SMALL, LARGE),
        policies={"p": Policy("p", FixedThreshold(0.5))},
        default_policy="p",
        scorer=SCORER,
        capability_filter=CapabilityFilter({}, 256),
        experiment=Experiment(shadow=Contrary()),
    )
    decision = one.decide(request(EASY), ANYBODY)
    assert decision.tier is Tier.SMALL
    assert (decision.shadow_version, decision.shadow_score) == ("r2-shadow", 0.99)


@pytest.mark.parametrize(
    ("text", "deployment"),
    [
        ("Wie wird morgen das Wetter in Hamburg, und was soll ich anziehen?", "slm"),
        ("Quel temps fera-t-il demain à Paris, et que dois-je porter ?", "gpt"),
        ("ok", "slm"),  # too short to tell: nothing speaks against the small one
    ],
)
def test_a_deployment_may_list_its_languages(text: str, deployment: str) -> None:
    german = replace(SMALL, languages=frozenset({"de", "en"}))
    decision = router(german, LARGE).decide(request(text), Caller("r", threshold=1.0))
    assert decision.deployment.name == deployment
    if deployment == "gpt":
        assert decision.reason == "needs_language"
        assert [(out.reason, out.detail) for out in decision.excluded] == [("needs_language", "fr")]


@pytest.mark.parametrize("fallback", ["any_tier", "same_tier", "none"])
def test_a_cascade_escalates_to_the_first_large_deployment(fallback: Fallback) -> None:
    decision = router(fallback=fallback).decide(request(EASY, "auto:watched"), ANYBODY)
    assert (decision.deployment, decision.reason) == (SMALL, "below_threshold")
    assert (decision.cascade, decision.escalation) == (CASCADE, LARGE)


@pytest.mark.parametrize(
    ("asked", "deployments"),
    [
        (request(HARD, "auto:watched"), ()),  # it is the large tier's anyway
        (request(EASY, "slm"), ()),
        (request(EASY, "auto"), ()),
        (request(EASY, "auto:watched"), (SMALL, NO_KEY)),
        (request(EASY, "auto:watched"), (LARGE,)),
        (request(HARD, "auto:watched"), (SMALL, NO_KEY)),
        (request(EASY, "auto:watched", tools=TOOL), ()),
    ],
)
def test_where_no_cascade_watches(asked: ChatRequest, deployments: tuple[Deployment, ...]) -> None:
    decision = router(*deployments).decide(asked, ANYBODY)
    assert (decision.cascade, decision.escalation) == (None, None)


def test_an_escalation_goes_where_the_request_can_be_served() -> None:
    narrow = Deployment("narrow", Tier.LARGE, "openai", "narrow", context_window=500)
    asked = request(EASY, "auto:watched", max_tokens=1000)
    decision = router(SMALL, narrow, SPARE).decide(asked, ANYBODY)
    assert decision.escalation is SPARE


def beside_embeddings(*deployments: Deployment) -> Router:
    return Router(
        deployments=deployments,
        policies={"balanced": Policy("balanced", FixedThreshold(0.5))},
        default_policy="balanced",
        scorer=SCORER,
        capability_filter=CapabilityFilter({}, 256),
        model_map={"old-embedder": "minilm", "*": "auto"},
        embedding_names=["minilm"],
    )


@pytest.mark.parametrize("model", ["minilm", "old-embedder"])
def test_a_model_for_embeddings_can_not_chat(model: str) -> None:
    with pytest.raises(ModelNotFound, match="can't chat; there are: auto, auto:balanced, slm"):
        beside_embeddings(SMALL).decide(request(model=model), ANYBODY)
    assert beside_embeddings(SMALL).decide(request(model="any"), ANYBODY).deployment is SMALL


def test_without_a_deployment_for_chats_there_is_no_auto() -> None:
    with pytest.raises(ModelNotFound, match="answers chats"):
        beside_embeddings().decide(request(), ANYBODY)
