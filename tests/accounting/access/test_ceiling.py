"""No call costs more than what was set aside for it."""

from dataclasses import replace
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.access.ceiling import (
    FRAME_TOKENS,
    LONGEST_OUTPUT,
    MOST_FORWARDED_OUTPUT,
    Ceiling,
    highest_cost,
)
from gateway.accounting.pricing import cost_of, pico_of
from gateway.api.completions import CompletionsFormat
from gateway.api.embeddings import EmbeddingsFormat
from gateway.api.parse import parse_chat
from gateway.core.deployment import Deployment, Tier
from gateway.core.energy import Hardware
from gateway.core.forwarding import ForwardedRequest
from gateway.core.price import Price, PricePeriod, PromptTier
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage

RATE = st.decimals(0, 100, places=3)
TOKENS = Price("p", Decimal(1), Decimal(2))  # a micro-USD a token read, two a token written
AT = datetime(2026, 11, 27, tzinfo=UTC)
LARGE = Deployment("large", Tier.LARGE, "openai", "large", context_window=200_000)


def chat(content: Any = "Hi", **fields: Any) -> ChatRequest:
    body = {"model": "large", "messages": [{"role": "user", "content": content}], **fields}
    return parse_chat(orjson.dumps(body))


def most(
    request: ChatRequest | ForwardedRequest, price: Price | None = TOKENS, **known: Any
) -> int:
    found = highest_cost(request, LARGE, price, Ceiling(**known), AT)
    assert found is not None
    return found // 1_000_000


@given(
    st.builds(Price, st.just("p"), RATE, RATE, *[st.none() | RATE for _ in range(7)]),
    st.text(),
    st.integers(1, 500),
    st.integers(1, 4),
    st.data(),
)
def test_no_usage_within_the_limits_costs_more(
    price: Price, text: str, limit: int, count: int, data: st.DataObject
) -> None:
    reserved = highest_cost(chat(text, max_tokens=limit, n=count), LARGE, price, Ceiling(), AT)
    read = data.draw(st.integers(0, len(text.encode()) + FRAME_TOKENS))
    written = data.draw(st.integers(0, limit * count))
    usage = Usage(
        read,
        written,
        cached_tokens=data.draw(st.integers(0, read)),
        cache_write_tokens=data.draw(st.integers(0, read)),
        cache_write_1h_tokens=data.draw(st.integers(0, read)),
        audio_input_tokens=data.draw(st.integers(0, read)),
        image_input_tokens=data.draw(st.integers(0, read)),
        audio_output_tokens=data.draw(st.integers(0, written)),
        image_output_tokens=data.draw(st.integers(0, written)),
    )
    cost = cost_of(usage, price).usd
    assert reserved is not None
    assert cost is not None
    assert pico_of(cost) <= reserved


@pytest.mark.parametrize(
    ("fields", "known", "output"),
    [
        ({"max_tokens": 10}, {}, 10),
        ({"max_tokens": 10, "max_completion_tokens": 20, "n": 3}, {}, 60),
        ({}, {"output_tokens": 500}, 500),
        ({}, {}, LONGEST_OUTPUT),
    ],
)
def test_the_output_is_what_the_client_allows_else_what_the_model_can(
    fields: dict[str, Any], known: dict[str, Any], output: int
) -> None:
    request = chat(**fields)
    assert most(request, **known) == len(request.raw) + FRAME_TOKENS + 2 * output


def test_what_isnt_text_is_bounded_by_the_window() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    file = {"type": "file", "file": {"file_id": "file-1"}}
    small = chat([image], max_tokens=1)
    assert most(small) == len(small.raw) + FRAME_TOKENS + 50_000 + 2
    for content in ([image] * 5, [file]):
        assert most(chat(content, max_tokens=1)) == 200_000 + 2
    assert most(chat(web_search_options={}, max_tokens=1)) == 200_000 + 2


def test_every_prompt_of_a_text_completion_has_its_answers() -> None:
    body = {"model": "large", "prompt": ["a", "b"], "max_tokens": 5, "n": 2, "best_of": 3}
    raw = orjson.dumps(body)
    request = CompletionsFormat().parse(raw)
    size = max(len(raw), len(request.raw))
    assert most(request) == size + FRAME_TOKENS + 2 * 5 * 3 * 2


def test_embeddings_write_nothing() -> None:
    request = EmbeddingsFormat().parse(b'{"model": "large", "input": [[1, 2, 3]]}')
    price = Price("p", Decimal(1))
    assert most(request, price) == len(request.raw) + FRAME_TOKENS


def test_compute_is_bounded_by_time_and_nothing_unknown_is_free() -> None:
    assert most(chat(), Price("p", usd_per_hour=Decimal(3)), compute_s=1.2) == 1_000
    assert highest_cost(chat(), LARGE, None, Ceiling(), AT) is None
    assert highest_cost(chat(), LARGE, Price("p", Decimal(1)), Ceiling(), AT) is None


def forwarded(endpoint: str, **fields: Any) -> ForwardedRequest:
    return ForwardedRequest(
        "POST", endpoint.removeprefix("/v1"), endpoint, is_metered=True, **fields
    )


def test_what_is_passed_on_is_bounded_by_its_unit() -> None:
    spoken = Price("p", usd_per_million_characters=Decimal(15))
    assert most(forwarded("/v1/audio/speech", characters=100), spoken) == 1_500
    heard = Price("p", usd_per_audio_hour=Decimal(36))
    assert most(forwarded("/v1/audio/transcriptions", body=b"x" * 7500), heard) == 100_000
    drawn = forwarded("/v1/images/generations", payload={"n": 2})
    assert most(drawn) == FRAME_TOKENS + 2 * 2 * MOST_FORWARDED_OUTPUT


def test_prices_that_depend_are_taken_at_their_dearest() -> None:
    request = chat(max_tokens=1)
    size = len(request.raw) + FRAME_TOKENS
    double, triple = Price("2", Decimal(2), Decimal(2)), Price("3", Decimal(3), Decimal(2))
    longer = replace(TOKENS, tiers=(PromptTier(size - 1, double), PromptTier(size, triple)))
    assert most(request, longer) == 2 * size + 2
    served = replace(TOKENS, service_tiers=(("flex", double), ("priority", triple)))
    assert most(request, served) == 3 * size + 2
    flexible = chat(max_tokens=1, service_tier="flex")
    assert most(flexible, served) == 2 * (len(flexible.raw) + FRAME_TOKENS) + 2
    standard = chat(max_tokens=1, service_tier="default")
    assert most(standard, served) == len(standard.raw) + FRAME_TOKENS + 2
    today = PricePeriod(AT.date(), ((time(0), double), (time(12), triple)))
    assert most(request, replace(TOKENS, schedule=(today,))) == 2 * size + 2


@pytest.mark.parametrize(
    ("backend", "fields", "is_known"),
    [
        ("openai", {"service_tier": "priority"}, False),
        ("openai", {"service_tier": ["flex"]}, False),
        ("anthropic", {"speed": "fast"}, False),
        ("anthropic", {"service_tier": "priority"}, True),
        ("local", {"service_tier": "priority", "speed": "fast"}, True),
    ],
)
def test_a_service_tier_that_no_price_lists_isnt_free(
    backend: str, fields: dict[str, Any], is_known: bool
) -> None:
    served = replace(TOKENS, service_tiers=(("flex", TOKENS),))
    deployment = replace(LARGE, backend=backend)
    found = highest_cost(chat(**fields), deployment, served, Ceiling(), AT)
    assert (found is not None) == is_known


def test_electricity_and_searches_are_bounded_too() -> None:
    hourly = Price("p", usd_per_hour=Decimal(3), usd_per_kwh=Decimal("0.36"))
    machine = replace(LARGE, energy=Hardware(100, most_watts=2_000))
    found = highest_cost(chat(), machine, hourly, Ceiling(compute_s=1.2), AT)
    assert found == (1_000 + 240) * 10**6
    searching = replace(TOKENS, usd_per_thousand_searches=Decimal(10))
    fields: dict[str, Any] = {"max_tokens": 1, "web_search_options": {}}
    assert most(chat(**fields), searching) == 200_000 + 2 + 50 * 10_000
