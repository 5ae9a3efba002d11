"""Usage objects as upstreams write them: what is billed is what was used."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage

counts = st.integers(0, 10**9)


def test_openais_thoughts_are_part_of_the_completion() -> None:
    usage = Usage.from_wire(
        {
            "prompt_tokens": 10,
            "completion_tokens": 50,
            "total_tokens": 60,
            "completion_tokens_details": {"reasoning_tokens": 40},
        }
    )
    assert (usage.completion_tokens, usage.reasoning_tokens) == (50, 40)


@pytest.mark.parametrize("details", [{"completion_tokens_details": {"reasoning_tokens": 40}}, {}])
def test_thoughts_that_only_the_total_counts_are_billed_too(details: dict[str, Any]) -> None:
    """xAI's, whose number is given, and Gemini's, whose number isn't."""
    wire = {"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 100, **details}
    usage = Usage.from_wire(wire)
    assert (usage.completion_tokens, usage.reasoning_tokens) == (90, 40)


@pytest.mark.parametrize(
    "wire",
    [
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        {"prompt_tokens": 10, "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 12},
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": True},
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 45,
            "prompt_tokens_details": {"cached_tokens": 30},
        },
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 45,
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    ],
)
def test_a_total_that_means_something_else_adds_nothing(wire: dict[str, Any]) -> None:
    assert Usage.from_wire(wire).completion_tokens == 5


@given(prompt=counts, completion=counts, thought=counts)
def test_the_total_is_what_is_billed_wherever_thoughts_stand(
    prompt: int, completion: int, thought: int
) -> None:
    total = prompt + completion + thought
    beside = {"completion_tokens_details": {"reasoning_tokens": thought}}
    wire = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    for reported in (wire, wire | beside):
        usage = Usage.from_wire(reported)
        assert usage.prompt_tokens + usage.completion_tokens == total
        assert usage.reasoning_tokens == thought


@pytest.mark.parametrize(
    "cached",
    [
        {"prompt_tokens_details": {"cached_tokens": 64}},
        {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
        {"cached_tokens": 64},
    ],
)
def test_what_a_prompt_cache_gave_is_found_by_every_name_for_it(cached: dict[str, Any]) -> None:
    assert Usage.from_wire({"prompt_tokens": 100, **cached}).cached_tokens == 64


@pytest.mark.parametrize(
    ("wire", "beside", "expected"),
    [
        ({}, "flex", "flex"),
        ({}, "ON_DEMAND", "on_demand"),
        ({"service_tier": "batch"}, "default", "batch"),
        ({"service_tier": "standard", "speed": "fast"}, None, "fast"),
        ({"service_tier": None}, None, None),
        ({}, 3, None),
        ({}, "", None),
    ],
)
def test_the_service_tier_is_the_one_that_was_served(
    wire: dict[str, Any], beside: object, expected: str | None
) -> None:
    assert Usage.from_wire(wire, beside).service_tier == expected


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (0.0123, Decimal("0.0123")),
        ({"input_tokens_cost": 0.01, "total_cost": 0.006}, Decimal("0.006")),
        (0, Decimal(0)),
        (-1, None),
        (True, None),
        ("0.1", None),
        ({"total_cost": None}, None),
        (None, None),
    ],
)
def test_the_providers_own_amount_is_read_where_it_is_one(
    cost: object, expected: Decimal | None
) -> None:
    assert Usage.from_wire({"cost": cost}).reported_cost_usd == expected


def test_ticks_are_ten_billionths_of_a_dollar() -> None:
    usage = Usage.from_wire({"cost_in_usd_ticks": 37756000})
    assert usage.reported_cost_usd == Decimal("0.0037756")


def test_images_and_searches_are_counted() -> None:
    usage = Usage.from_wire(
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "prompt_tokens_details": {"image_tokens": 60},
            "completion_tokens_details": {"image_tokens": 40},
            "server_tool_use": {"web_search_requests": 3},
        }
    )
    assert (usage.image_input_tokens, usage.image_output_tokens, usage.searches) == (60, 40, 3)
