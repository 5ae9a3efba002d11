"""Costs are exact: checked against rational arithmetic, at the edges and in between."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.pricing import (
    MAX_USD,
    amount_of,
    cost_of,
    pico_of,
    usd_of,
    usd_text,
    usd_text_of,
)
from gateway.core.energy import Energy
from gateway.core.price import UNPRICED, Price, PromptTier
from gateway.core.usage import Usage

GPT_4O = Price(
    "config:gpt-4o",
    usd_per_million_input=Decimal("2.50"),
    usd_per_million_output=Decimal("10.00"),
    usd_per_million_cached_input=Decimal("1.25"),
)
PER_HOUR = Price("config:local", usd_per_hour=Decimal("0.08"))

rates = st.decimals(0, 1000, places=9)
micro_rates = st.decimals(0, 1000, places=6)
tokens = st.integers(0, 2_000_000)


def half_even_pico(amount: Fraction) -> int:
    """Python's `round` of a rational is exact and half-even."""
    return round(amount * 10**12)


@given(tokens, tokens, tokens, rates, rates, st.none() | rates)
def test_token_costs_equal_rational_arithmetic_rounded_once(
    prompt: int, cached: int, completion: int, read: Decimal, written: Decimal, hit: Decimal | None
) -> None:
    cached = min(cached, prompt)
    price = Price("p", read, written, hit)
    cost = cost_of(Usage(prompt, completion, cached), price)
    exact = (
        Fraction(prompt - cached) * Fraction(read)
        + Fraction(cached) * Fraction(read if hit is None else hit)
        + Fraction(completion) * Fraction(written)
    ) / 10**6
    assert cost.usd is not None
    assert pico_of(cost.usd) == half_even_pico(exact)
    assert Fraction(cost.usd) * 10**12 == half_even_pico(exact)


@given(st.floats(0, 1e6), rates)
def test_hourly_costs_equal_rational_arithmetic_rounded_once(seconds: float, rate: Decimal) -> None:
    cost = cost_of(Usage(1, 1, compute_s=seconds), Price("p", usd_per_hour=rate))
    exact = Fraction(repr(seconds)) * Fraction(rate) / 3600
    assert cost.usd is not None
    assert pico_of(cost.usd) == half_even_pico(exact)


@given(st.floats(0, 1e6), st.floats(0, 1e9), rates, rates)
def test_electricity_comes_on_top_rounded_once(
    seconds: float, wh: float, hourly: Decimal, tariff: Decimal
) -> None:
    price = Price("p", usd_per_hour=hourly, usd_per_kwh=tariff)
    cost = cost_of(Usage(1, 1, compute_s=seconds), price, Energy(wh, None, "estimated:power"))
    exact = Fraction(repr(seconds)) * Fraction(hourly) / 3600
    exact += Fraction(repr(wh)) * Fraction(tariff) / 1000
    if exact <= MAX_USD:
        assert cost.usd is not None
        assert pico_of(cost.usd) == half_even_pico(exact)
    else:
        assert cost == UNPRICED


def test_electricity_has_no_price_where_nobody_knows_how_much_it_was() -> None:
    used = Usage(1_000_000, 0)
    price = Price("p", Decimal(1), Decimal(1), usd_per_kwh=Decimal("0.3"))
    assert cost_of(used, price) == UNPRICED
    cost = cost_of(used, price, Energy(1000, None, "measured:rapl"))
    assert cost.usd == Decimal("1.3")
    # What is bought with its electricity costs that alone.
    assert cost_of(used, Price("p", Decimal(1), Decimal(1))).usd == 1


@given(tokens, st.integers(0, 10_000_000))
def test_cached_tokens_are_never_billed_twice_nor_more_than_the_prompt(
    prompt: int, cached: int
) -> None:
    cost = cost_of(Usage(prompt, 0, cached), GPT_4O)
    assert cost.usd is not None
    assert Decimal("1.25") * prompt / 10**6 <= cost.usd <= Decimal("2.50") * prompt / 10**6


@given(
    prompt=tokens,
    completion=tokens,
    spoken=tokens,
    counts=st.tuples(*[st.integers(0, 500_000)] * 5),
    given_rates=st.tuples(*[st.none() | rates] * 6),
    read=rates,
    written=rates,
)
def test_special_tokens_are_billed_once_at_their_own_rate(
    prompt: int,
    completion: int,
    spoken: int,
    counts: tuple[int, ...],
    given_rates: tuple[Decimal | None, ...],
    read: Decimal,
    written: Decimal,
) -> None:
    cached, stored, for_an_hour, heard, seen = counts
    price = Price("p", read, written, *given_rates)
    usage = Usage(
        prompt,
        completion,
        cached_tokens=cached,
        cache_write_tokens=stored,
        cache_write_1h_tokens=for_an_hour,
        audio_input_tokens=heard,
        image_input_tokens=seen,
        audio_output_tokens=spoken,
    )
    hit, store, hour, hear, see, speak = given_rates
    for_an_hour = min(for_an_hour, stored)
    hour = store if hour is None else hour
    left, exact = prompt, Fraction(0)
    for count, rate in (
        (cached, hit),
        (for_an_hour, hour),
        (stored - for_an_hour, store),
        (heard, hear),
        (seen, see),
    ):
        billed = min(count, left)
        left -= billed
        exact += billed * Fraction(read if rate is None else rate)
    exact += left * Fraction(read)
    spoken = min(spoken, completion)
    exact += spoken * Fraction(written if speak is None else speak)
    exact += (completion - spoken) * Fraction(written)
    cost = cost_of(usage, price)
    assert cost.usd is not None
    assert pico_of(cost.usd) == half_even_pico(exact / 10**6)


@given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=8), micro_rates, micro_rates)
def test_calls_cost_together_what_their_usage_costs_in_one(
    calls: list[tuple[int, int]], read: Decimal, written: Decimal
) -> None:
    """Exactly: no rate of up to six decimals is ever rounded."""
    price = Price("p", read, written)
    apart = [cost_of(Usage(prompt, completion), price).usd for prompt, completion in calls]
    prompts, completions = (sum(side) for side in zip(*calls, strict=True))
    assert sum(usd for usd in apart if usd is not None) == amount_of(
        Usage(prompts, completions), price
    )


@given(tokens, tokens, st.tuples(*[st.integers(0, 500_000)] * 8), rates, rates)
def test_how_tokens_are_told_apart_never_changes_what_they_cost_at_one_rate(
    prompt: int, completion: int, parts: tuple[int, ...], read: Decimal, written: Decimal
) -> None:
    cached, stored, for_an_hour, heard, seen, spoken, drawn, thought = parts
    price = Price("p", read, written)
    split = Usage(
        prompt,
        completion,
        cached_tokens=cached,
        cache_write_tokens=stored,
        cache_write_1h_tokens=for_an_hour,
        audio_input_tokens=heard,
        image_input_tokens=seen,
        audio_output_tokens=spoken,
        image_output_tokens=drawn,
        reasoning_tokens=thought,
    )
    assert cost_of(split, price) == cost_of(Usage(prompt, completion), price)


@given(
    prompt=st.integers(0, 1000),
    completion=st.integers(0, 1000),
    above=st.integers(0, 1000),
    both=st.tuples(rates, rates, rates, rates),
)
def test_a_call_is_billed_at_the_rates_of_one_tier_alone(
    prompt: int, completion: int, above: int, both: tuple[Decimal, ...]
) -> None:
    short, long = Price("p", both[0], both[1]), Price("p>n", both[2], both[3])
    tiered = replace(short, tiers=(PromptTier(above, long),))
    usage = Usage(prompt, completion)
    assert cost_of(usage, tiered) == cost_of(usage, long if prompt > above else short)


@given(st.sampled_from(["scale", "flex", "x"]), tokens, rates)
def test_at_a_service_tier_without_a_price_a_call_is_unpriced(
    tier: str, prompt: int, read: Decimal
) -> None:
    price = Price("p", read, read, service_tiers=(("batch", Price("p+batch", read / 2)),))
    assert cost_of(Usage(prompt, 0, service_tier=tier), price) == UNPRICED


def test_thoughts_and_searches_have_their_own_rates() -> None:
    price = Price(
        "p",
        Decimal(1),
        Decimal(2),
        usd_per_million_reasoning=Decimal(3),
        usd_per_thousand_searches=Decimal(10),
    )
    usage = Usage(0, 1_000_000, reasoning_tokens=400_000, searches=2)
    assert cost_of(usage, price).usd == Decimal("1.2") + Decimal("1.2") + Decimal("0.02")
    assert cost_of(usage, GPT_4O) == UNPRICED


def test_a_bill_with_a_prompt_cache_that_is_written_and_read() -> None:
    sonnet = Price(
        "config:claude",
        usd_per_million_input=Decimal(3),
        usd_per_million_output=Decimal(15),
        usd_per_million_cached_input=Decimal("0.30"),
        usd_per_million_cache_write=Decimal("3.75"),
        usd_per_million_cache_write_1h=Decimal(6),
    )
    usage = Usage(1000, 10, cached_tokens=600, cache_write_tokens=300, cache_write_1h_tokens=100)
    # 100 fresh at 3, 600 read at 0.30, 200 written at 3.75, 100 written for an hour at 6, 10 at 15
    assert cost_of(usage, sonnet).usd == Decimal("0.001980")


def test_a_known_bill() -> None:
    cost = cost_of(Usage(1000, 200, cached_tokens=400), GPT_4O)
    assert (cost.usd, cost.source, cost.price_id) == (
        Decimal("0.004"),
        "computed",
        "config:gpt-4o",
    )


def test_the_providers_own_amount_comes_first() -> None:
    usage = Usage(1000, 200, reported_cost_usd=Decimal("0.1234567890125"))
    cost = cost_of(usage, GPT_4O)
    assert (usd_text(cost.usd), cost.source, cost.price_id) == ("0.123456789012", "provider", None)


@pytest.mark.parametrize("nonsense", ["Infinity", "NaN", "-1", "1e300"])
def test_an_impossible_reported_amount_falls_back_to_the_price(nonsense: str) -> None:
    cost = cost_of(Usage(1000, 0, reported_cost_usd=Decimal(nonsense)), GPT_4O)
    assert (cost.usd, cost.source) == (Decimal("0.0025"), "computed")


def test_a_reported_zero_is_a_price_of_zero_not_a_missing_one() -> None:
    cost = cost_of(Usage(1, 1, reported_cost_usd=Decimal(0)), None)
    assert (usd_text(cost.usd), cost.source) == ("0", "provider")


@pytest.mark.parametrize(
    ("usage", "price"),
    [
        (Usage(1, 1), None),
        (Usage(1, 1), Price("input only", usd_per_million_input=Decimal(1))),
        (Usage(1, 1), Price("nothing")),
        (Usage(1, 1, compute_s=None), PER_HOUR),
        (Usage(10**18, 0), Price("absurd", Decimal(1000), Decimal(1000))),
    ],
)
def test_what_cannot_be_priced_is_unpriced_never_zero(usage: Usage, price: Price | None) -> None:
    assert cost_of(usage, price) == UNPRICED


def test_a_missing_rate_matters_only_where_tokens_need_it() -> None:
    embedding = Price("embedding", usd_per_million_input=Decimal("0.02"))
    assert cost_of(Usage(1000, 0), embedding).usd == Decimal("0.00002")


@given(st.integers(0, int(MAX_USD) * 10**12))
def test_stored_amounts_come_back_whole(pico: int) -> None:
    assert pico_of(usd_of(pico)) == pico


@given(st.integers(-(10**30), 10**30) | st.integers(-(10**13), 10**13).map(lambda n: n * 10**6))
def test_whole_pico_dollars_are_written_like_any_amount(pico: int) -> None:
    assert usd_text_of(pico) == usd_text(usd_of(pico))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("6.25E-6", "0.00000625"),
        ("1E+1", "10"),
        ("0E-12", "0"),
        ("1E-12", "0.000000000001"),
        ("2.50", "2.5"),
    ],
)
def test_amounts_are_written_without_exponent(amount: str, text: str) -> None:
    assert usd_text(Decimal(amount)) == text


def test_no_amount_stays_no_amount() -> None:
    assert usd_text(None) is None


@pytest.mark.parametrize("usage", [Usage(0, 0, characters=9), Usage(0, 0, audio_s=9.0)])
def test_what_is_not_counted_in_tokens_needs_a_rate_of_its_own(usage: Usage) -> None:
    assert cost_of(usage, GPT_4O) == UNPRICED
