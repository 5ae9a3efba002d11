from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.wire.anthropic_answer import chat_usage, messages_usage
from gateway.wire.anthropic_usage import translated_usage_of, usage_of

COUNTS = st.integers(0, 10**9)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=3)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner)
)
NAMES = [
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "output_tokens_details",
    "service_tier",
    "server_tool_use",
    "x_new",
]


def usage(**counts: Any) -> dict[str, Any]:
    return {"input_tokens": 7, "output_tokens": 9, **counts}


def test_the_prompt_holds_what_the_cache_read_and_wrote() -> None:
    told = usage(
        cache_read_input_tokens=4,
        cache_creation_input_tokens=3,
        cache_creation={"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1},
        output_tokens_details={"thinking_tokens": 5},
        service_tier="standard",
    )
    expected = Usage(14, 9, 4, reasoning_tokens=5, cache_write_tokens=3, cache_write_1h_tokens=1)
    assert usage_of(told) == expected
    assert translated_usage_of(chat_usage(told)) == expected


@pytest.mark.parametrize("none", [None, [], "7", 7, True])
def test_what_is_no_object_is_no_usage(none: object) -> None:
    assert usage_of(none) is None


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"input_tokens": None}, Usage(0, 9)),
        ({"input_tokens": "7"}, Usage(0, 9)),
        ({"output_tokens": -1}, Usage(7, 0)),
        ({"output_tokens": [1]}, Usage(7, 0)),
        ({"cache_creation": 5}, Usage(7, 9)),
        ({"cache_creation": {"ephemeral_1h_input_tokens": "1"}}, Usage(7, 9)),
        ({"cache_creation": {"ephemeral_1h_input_tokens": -5}}, Usage(7, 9)),
        ({"output_tokens_details": 5}, Usage(7, 9)),
        ({"output_tokens_details": {"thinking_tokens": "x"}}, Usage(7, 9)),
        ({"output_tokens_details": {"thinking_tokens": None}}, Usage(7, 9)),
    ],
    ids=str,
)
def test_a_malformed_count_is_none(counts: dict[str, Any], expected: Usage) -> None:
    assert usage_of(usage(**counts)) == expected


@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING))
def test_whatever_an_upstream_says_no_count_is_negative(told: dict[str, Any]) -> None:
    counted = usage_of(told)
    if counted is not None:
        counts = (
            counted.prompt_tokens,
            counted.completion_tokens,
            counted.cached_tokens,
            counted.cache_write_tokens,
            counted.cache_write_1h_tokens,
            counted.reasoning_tokens,
        )
        assert min(counts) >= 0


@given(st.dictionaries(st.sampled_from(["prompt_tokens", *NAMES]), ANYTHING), ANYTHING, ANYTHING)
def test_a_chats_usage_in_anthropics_words_has_only_counts(
    told: dict[str, Any], prompt: Any, completion: Any
) -> None:
    details = {"prompt_tokens_details": prompt, "completion_tokens_details": completion}
    words = messages_usage({**told, **details})
    for name in (
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    ):
        assert type(words[name]) is int
        assert words[name] >= 0


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.none() | COUNTS)
def test_counts_there_and_back(
    fresh: int, read: int, written: int, output: int, thought: int | None
) -> None:
    told: dict[str, Any] = {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": output,
    }
    if thought is not None:
        told["output_tokens_details"] = {"thinking_tokens": thought}
    assert messages_usage(chat_usage(told)) == told
