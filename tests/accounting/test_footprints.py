"""ecologits' own function is the measure: the values taken from it say the same for every call."""

import pytest
from ecologits.electricity_mix_repository import electricity_mixes
from ecologits.tracers.utils import llm_impacts
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.energy import energy_of
from gateway.accounting.footprints import UnknownZone, footprint_of
from gateway.core.usage import Usage
from gateway.settings import EnergySettings

KNOWN = [
    ("openai", "gpt-4o", "openai"),
    ("openai", "gpt-4o-mini", "openai"),
    ("anthropic", "claude-sonnet-4-5", "anthropic"),
    ("mistral", "mistral-large-latest", "mistralai"),
    ("google", "gemini-2.5-flash", "google_genai"),
]


@pytest.mark.parametrize(("provider", "model", "theirs"), KNOWN)
@given(tokens=st.integers(1, 200_000), elapsed_s=st.floats(0, 4000))
def test_it_says_what_the_package_says(
    provider: str, model: str, theirs: str, tokens: int, elapsed_s: float
) -> None:
    energy = energy_of(Usage(9, tokens), footprint_of(model, provider), elapsed_s)
    impacts = llm_impacts(theirs, model, tokens, elapsed_s)
    assert energy is not None
    assert impacts.energy is not None
    assert impacts.usage is not None
    assert energy.wh == pytest.approx(mean(impacts.energy.value) * 1000, rel=1e-6, abs=1e-8)
    assert energy.co2_g == pytest.approx(mean(impacts.usage.gwp.value) * 1000, rel=1e-6, abs=1e-8)
    assert energy.source == "estimated:ecologits"


def mean(value: object) -> float:
    found = getattr(value, "mean", value)
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-nobody-knows"), ("openrouter", "gpt-4o"), ("anthropic", "gpt-4o")],
)
def test_a_model_that_it_doesnt_know_is_unknown(provider: str, model: str) -> None:
    assert footprint_of(model, provider) is None


def test_where_it_is_served_changes_the_gas_and_not_the_energy() -> None:
    usual, swedish = footprint_of("gpt-4o", "openai"), footprint_of("gpt-4o", "openai", "SWE")
    assert usual is not None
    assert swedish is not None
    assert (usual.low.wh_per_token, usual.high.wh_per_token) == (
        swedish.low.wh_per_token,
        swedish.high.wh_per_token,
    )
    assert swedish.grams_co2_per_kwh == pytest.approx(35.26)
    assert usual.grams_co2_per_kwh == pytest.approx(384.4)
    with pytest.raises(UnknownZone, match="ZZZ"):
        footprint_of("gpt-4o", "openai", "ZZZ")


def test_the_default_intensity_is_the_worlds_mean_of_the_same_table() -> None:
    world = electricity_mixes.find_electricity_mix("WOR")
    assert world is not None
    assert EnergySettings().grams_co2_per_kwh == round(world.gwp * 1000)
