"""The launch list is known by name, with context, licence and price where one exists."""

from decimal import Decimal

import pytest

from gateway.accounting.catalogue import catalogue_price
from gateway.accounting.known_models import known_model, known_models, launch_models
from gateway.accounting.price_list import priced_model, quotes_of

#: Name → context window, licence, USD per million tokens in and out at the first who lists it.
LAUNCH = {
    "GPT-4o": (128_000, "proprietary", ("2.5", "10")),
    "GPT-4o mini": (128_000, "proprietary", ("0.15", "0.6")),
    "GPT-3.5 Turbo": (16_385, "proprietary", ("0.5", "1.5")),
    "Claude 3.5 Sonnet": (200_000, "proprietary", ("3", "15")),
    "Gemini 1.5 Pro": (2_097_152, "proprietary", ("1.25", "5")),
    "Mistral NeMo 12B": (131_072, "Apache-2.0", ("0.15", "0.15")),
    "Mathstral 7B": (32_768, "Apache-2.0", None),
    "SmolLM 135M": (2_048, "Apache-2.0", None),
    "SmolLM 360M": (2_048, "Apache-2.0", None),
    "SmolLM 1.7B": (2_048, "Apache-2.0", None),
    "SmolLM2 135M": (8_192, "Apache-2.0", None),
    "SmolLM2 360M": (8_192, "Apache-2.0", None),
    "SmolLM2 1.7B": (8_192, "Apache-2.0", None),
    "H2O-Danube3 4B": (8_192, "Apache-2.0", None),
    "H2O-Danube3 500M": (8_192, "Apache-2.0", None),
    "DCLM-Baseline 7B": (2_048, "Apple-ASCL", None),
    "Qwen2 0.5B": (32_768, "Apache-2.0", None),
    "Qwen2 1.5B": (32_768, "Apache-2.0", None),
    "Qwen2 7B": (131_072, "Apache-2.0", ("0.054", "0.054")),
    "Qwen2 57B-A14B": (65_536, "Apache-2.0", None),
    "Qwen2 72B": (131_072, "Tongyi-Qianwen", ("0.9", "0.9")),
    "Phi-3-mini": (4_096, "MIT", None),
    "Phi-3-mini 128k": (131_072, "MIT", ("0.13", "0.52")),
    "Gemma 2 9B": (8_192, "Gemma", ("0.2", "0.2")),
    "Llama 3 8B": (8_192, "Llama-3", ("0.05", "0.08")),
    "Llama 3 70B": (8_192, "Llama-3", ("0.59", "0.79")),
    "Mixtral 8x7B": (32_768, "Apache-2.0", ("0.7", "0.7")),
    "Solar 10.7B": (4_096, "CC-BY-NC-4.0", ("0.3", "0.3")),
    "GPT-2": (1_024, "MIT", None),
    "BitNet b1.58 2B4T": (4_096, "MIT", None),
}

#: Where sources disagree on the rates of a model that we name: all who list it, as they say it.
DISAGREEMENTS = {
    "Mistral NeMo 12B": {"mistral": "0.15/0.15", "novita": "0.17/0.17", "ovhcloud": "0.14/0.14"},
    "Phi-3-mini 128k": {"azure": "0.13/0.52", "openrouter": "0.1/0.1"},
    "Gemma 2 9B": {
        "groq": "0.2/0.2",
        "novita": "0.08/0.08",
        "openrouter": "0.07/0.07",
        "huggingface_nebius": "0.03/0.09",
    },
    "Llama 3 8B": {
        "groq": "0.05/0.08",
        "aws": "0.3/0.6",
        "novita": "0.04/0.04",
        "openrouter": "0.03/0.06",
        "together": "0.18/0.18",
    },
    "Llama 3 70B": {
        "groq": "0.59/0.79",
        "aws": "2.65/3.5",
        "novita": "0.51/0.74",
        "openrouter": "0.3/0.4",
        "together": "0.88/0.88",
    },
    "Mixtral 8x7B": {
        "mistral": "0.7/0.7",
        "groq": "0.24/0.24",
        "aws": "0.45/0.7",
        "openrouter": "0.24/0.24",
        "together": "0.9/0.9",
    },
}

#: Where the catalogue's context windows aren't the ones of the model's maker.
OTHER_WINDOWS = {
    "Gemini 1.5 Pro": {1_000_000, 2_000_000},
    "Mistral NeMo 12B": {60_288, 65_536},
    "Qwen2 7B": {32_768},
    "Mixtral 8x7B": {32_000},
}


def test_the_launch_list_is_known_with_context_licence_and_price() -> None:
    found = {}
    for model in launch_models():
        price = priced_model(model).quote.price
        rates = (
            None
            if price is None
            else (f"{price.usd_per_million_input}", f"{price.usd_per_million_output}")
        )
        found[model.name] = (model.context_window, model.licence, rates)
    assert found == LAUNCH


def test_every_figure_has_a_source_and_every_listed_entry_is_that_of_the_catalogue() -> None:
    for model in launch_models():
        assert set(model.sources) == {"licence", "context_window"}
        assert all(model.sources.values())
        for entry in model.listed:
            provider, _, name = entry.partition("/")
            price = catalogue_price(name, provider)
            assert price is not None, entry
            assert price.price_id.startswith(f"genai-prices:{entry}"), price.price_id


def test_where_sources_disagree_on_rates_is_known() -> None:
    found = {}
    for model in launch_models():
        listed = priced_model(model)
        if listed.differing:
            quotes = (listed.quote, *listed.others)
            found[model.name] = {
                quote.source.partition(":")[2].partition("/")[0]: "/".join(map(str, quote.rates))
                for quote in quotes
                if quote in {listed.quote, *listed.differing}
            }
    assert found == DISAGREEMENTS


def test_where_sources_disagree_on_context_is_known() -> None:
    found = {
        model.name: {quote.context_window for quote in priced_model(model).other_windows}
        for model in launch_models()
    }
    assert {name: windows for name, windows in found.items() if windows} == OTHER_WINDOWS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smollm2-135m-instruct", "SmolLM2 135M"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2 135M"),
        ("mistralai/Mistral-Nemo-Instruct-2407", "Mistral NeMo 12B"),
        ("gpt-4o-mini", "GPT-4o mini"),
        ("GPT-4O", "GPT-4o"),
        ("apple/DCLM-7B", "DCLM-Baseline 7B"),
        ("claude-opus-5-5", "claude-opus-5-5"),
    ],
)
def test_a_model_is_known_by_each_of_its_names(name: str, expected: str) -> None:
    model = known_model(name)
    assert model is not None
    assert model.name == expected


def test_an_unknown_name_is_no_model() -> None:
    assert known_model("no-such-model") is None
    assert known_model("") is None


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-5", "gpt-6.1-sol", "o3"),
        *("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"),
        *("gemini-2.5-pro", "gemini-3.8-flash", "gemini-4-argon"),
        *("mistral-large-4", "mistral-medium-3-5", "ministral-8b-2512", "codestral-2508"),
    ],
)
def test_the_makers_current_models_are_known_with_a_price(name: str) -> None:
    model = known_model(name)
    assert model is not None
    quote = priced_model(model).quote
    assert quote.price is not None
    assert quote.price.usd_per_million_input is not None


def test_no_model_is_listed_twice() -> None:
    names = [model.name for model in known_models()]
    assert len(names) == len(set(names)) > 150


def test_a_source_that_nobody_has_is_left_out() -> None:
    assert quotes_of(["openai/no-such-model", "nobody/gpt-4o"]) == []
    (quote,) = quotes_of(["openai/gpt-4o", "openai/gpt-4o"])
    assert quote.rates == (Decimal("2.5"), Decimal(10))
