"""Anthropic's counts: what a cache read and wrote is a part of the prompt."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.wire.anthropic_answer import chat_usage, messages_usage
from gateway.wire.anthropic_usage import translated_usage_of, usage_of

COUNTS = st.integers(0, 10**6)
USAGES = st.fixed_dictionaries(
    {"input_tokens": COUNTS, "output_tokens": COUNTS},
    optional={
        "cache_read_input_tokens": COUNTS | st.none(),
        "cache_creation_input_tokens": COUNTS | st.none(),
        "cache_creation": st.none()
        | st.fixed_dictionaries(
            {"ephemeral_5m_input_tokens": COUNTS, "ephemeral_1h_input_tokens": COUNTS}
        ),
        "output_tokens_details": st.none() | st.fixed_dictionaries({"thinking_tokens": COUNTS}),
        "server_tool_use": st.none() | st.just({"web_search_requests": 1}),
        "service_tier": st.sampled_from([None, "standard"]),
    },
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def test_each_count_has_its_place() -> None:
    usage = usage_of(
        {
            "input_tokens": 100,
            "cache_read_input_tokens": 20,
            "cache_creation_input_tokens": 7,
            "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 30},
        }
    )
    assert usage == Usage(
        prompt_tokens=127,
        completion_tokens=50,
        cached_tokens=20,
        cache_write_tokens=7,
        cache_write_1h_tokens=3,
        reasoning_tokens=30,
    )


@pytest.mark.parametrize("usage", [None, [], "x", 3, {"input_tokens": {"a": 1}}])
def test_what_is_no_usage(usage: object) -> None:
    assert usage_of(usage) is None


def test_a_malformed_count_is_none() -> None:
    broken = {"input_tokens": "x", "output_tokens": 5, "cache_creation": 3}
    assert usage_of({**broken, "output_tokens_details": 3}) == Usage(0, 5)


@given(usage=USAGES)
def test_no_token_is_lost_or_counted_twice(usage: dict[str, Any]) -> None:
    counted = usage_of(usage)
    assert counted is not None
    assert counted == translated_usage_of(chat_usage(usage))
    read, written = counted.cached_tokens, counted.cache_write_tokens
    assert counted.prompt_tokens - read - written == usage["input_tokens"]
    assert counted.completion_tokens == usage["output_tokens"]
    back = messages_usage(chat_usage(usage))
    assert usage_of(back) == counted


@given(
    usage=st.dictionaries(
        st.sampled_from(
            [
                "input_tokens",
                "output_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "cache_creation",
                "output_tokens_details",
            ]
        ),
        ANYTHING,
    )
)
def test_no_usage_is_too_odd(usage: dict[str, Any]) -> None:
    counted = usage_of(usage)
    assert counted is None or counted.prompt_tokens >= 0
