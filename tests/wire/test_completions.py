"""Text completions as chats and back, checked with the vendor's own types."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from gateway.wire.completions import chat_body, completion_of, own_field, prompt_tokens

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "message", "delta", "content", "refusal", "text", "id"),
                    *("finish_reason", "index", "logprobs", "token", "bytes", "top_logprobs"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def completed(message: Any, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    chat = {"object": "chat.completion", "created": 1, "model": "m"}
    return completion_of({"id": "chatcmpl-7", **chat, "choices": [{**choice, **fields}]})


@pytest.mark.parametrize("prompt", ["Once upon", ["Once upon"]])
def test_a_prompt_is_what_the_user_says_and_the_rest_is_kept(prompt: object) -> None:
    kept = {"model": "auto", "max_tokens": 5, "logit_bias": {"5": 1}, "x": {"y": [None]}}
    neutral = {"suffix": "", "echo": False, "best_of": 1, "logprobs": None, "tools": []}
    body = {**kept, "prompt": prompt, **neutral}
    assert chat_body(body) == {**kept, "messages": [{"role": "user", "content": "Once upon"}]}
    assert own_field(body) is None


@pytest.mark.parametrize("fields", [{}, {"max_tokens": None}])
def test_a_chat_has_the_limit_that_text_completions_have_by_default(fields: dict[str, Any]) -> None:
    assert chat_body({"prompt": "x", **fields})["max_tokens"] == 16


@pytest.mark.parametrize(
    ("fields", "own"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [""]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"suffix": "the end"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"best_of": 3, "n": 2}, "best_of"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 2, "n": 2}, None),
        ({"logprobs": 0}, None),
        ({"logprobs": 20}, None),
        ({"logprobs": 21}, "logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 9}, "max_completion_tokens"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"prompt": [1], "echo": True, "logprobs": 1}, "prompt"),
    ],
)
def test_what_no_chat_can_say_is_named(fields: dict[str, Any], own: str | None) -> None:
    assert own_field({"prompt": "x", **fields}) == own


def test_a_chat_has_no_field_of_another_meaning() -> None:
    asked = {"echo": True, "suffix": "s", "best_of": 2, "tools": 5, "top_logprobs": "many"}
    chat = chat_body({"prompt": "x", "messages": "mine", "logprobs": 3, **asked})
    assert chat.keys() == {"messages", "max_tokens", "logprobs", "top_logprobs"}
    # A deployment without logprobs is then no choice.
    assert (chat["logprobs"], chat["top_logprobs"]) == (True, 3)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [(["a", "longest", "b"], "longest"), ([1, 2], ""), ([[1], [2, 3]], "")],
)
def test_the_longest_of_several_prompts_is_what_routing_reads(prompt: object, said: str) -> None:
    assert chat_body({"prompt": prompt})["messages"] == [{"role": "user", "content": said}]


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [("text", None), (None, None), (["text"], None), ([5, 6, 7], 3), ([[5, 6], [7]], 3)],
)
def test_a_prompt_in_tokens_is_counted(prompt: Any, tokens: int | None) -> None:
    assert prompt_tokens(prompt) == tokens


def test_several_prompts_are_estimated_together() -> None:
    one, both = prompt_tokens(["a" * 400, ""]), prompt_tokens(["a" * 400, "b" * 400])
    assert one is not None
    assert both is not None
    assert 100 <= one < both <= 220


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "Paris é 東京"}, "Paris é 東京"),
        ({"content": ""}, ""),
        ({"content": None, "refusal": "I can't."}, "I can't."),
        ({"content": [{"type": "text", "text": "a"}, {"type": "thinking"}, {"text": "b"}]}, "ab"),
        ({"content": None, "tool_calls": [{"id": "1"}]}, ""),
    ],
)
def test_an_answer_is_its_text(message: dict[str, Any], text: str) -> None:
    completion = completed({"role": "assistant", **message})
    parsed = Completion.model_validate(completion, strict=True)
    assert (parsed.id, parsed.choices[0].text) == ("cmpl-7", text)
    assert not parsed.model_extra
    assert not parsed.choices[0].model_extra


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "stop"),
        ("function_call", "stop"),
        ("a_new_one", "a_new_one"),
        (None, None),
    ],
)
def test_the_reason_of_the_end(reason: str | None, told: str | None) -> None:
    completion = completed({"content": "x"}, finish_reason=reason)
    assert completion["choices"][0]["finish_reason"] == told


def test_a_chunk_is_its_piece_of_text_and_unknown_members_are_kept() -> None:
    chunk = {
        "id": "gen-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "x": [1.5],
        "choices": [
            {"index": 1, "delta": {"role": "assistant", "content": "Pa"}, "finish_reason": None}
        ],
    }
    assert completion_of(chunk) == {
        "id": "cmpl-gen-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "x": [1.5],
        "choices": [{"text": "Pa", "index": 1, "logprobs": None, "finish_reason": None}],
    }


@pytest.mark.parametrize("said", [{}, {"id": None, "created": None, "model": None}])
def test_what_an_upstream_does_not_say_of_itself(said: dict[str, Any]) -> None:
    message = {"role": "assistant", "content": "x"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    completion = completion_of({**said, "choices": [choice]})
    Completion.model_validate(completion, strict=True)
    assert (completion["created"], completion["model"]) == (0, "")


@given(chat=st.dictionaries(st.sampled_from(["id", "created", "model", "choices"]), VALUES))
def test_whatever_an_upstream_says_is_a_text_completion(chat: dict[str, Any]) -> None:
    completion = completion_of(chat)
    assert completion["object"] == "text_completion"
    assert completion["id"].startswith("cmpl-")
    assert isinstance(completion["created"], int)
    assert isinstance(completion["model"], str)
    assert all(isinstance(choice["text"], str) for choice in completion["choices"])
