"""What calls take: measured, by a power model, by ecologits' figures, or unknown."""

from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.access.ceiling import Ceiling, highest_cost
from gateway.accounting.energy import energy_of, most_energy
from gateway.api.parse import parse_chat
from gateway.core.deployment import Deployment, Tier
from gateway.core.energy import Energy, Hardware, Line, Reading, RemoteModel
from gateway.core.price import Price
from gateway.core.usage import Usage

H100 = Hardware(993, pue=1.2, grams_co2_per_kwh=400)


def test_a_power_model_takes_its_watts_for_as_long_as_the_machine_worked() -> None:
    used = Usage(10, 20, compute_s=3600 / 993)
    assert energy_of(used, H100, 99.0) == Energy(1.2, 0.48, "estimated:power")


def test_an_h100_of_8_7_mwh_a_year_is_993_w() -> None:
    year = energy_of(Usage(1, 1, compute_s=365 * 24 * 3600), Hardware(993), 0.0)
    assert year is not None
    assert year.wh == pytest.approx(8.7e6, rel=1e-3)


def test_what_a_meter_says_comes_first() -> None:
    used = Usage(10, 20, compute_s=5.0, reading=Reading(0.5, "rapl"))
    assert energy_of(used, H100, 99.0) == Energy(0.6, 0.24, "measured:rapl")


@pytest.mark.parametrize(
    ("usage", "model"),
    [
        (Usage(10, 20), None),
        (Usage(10, 20, compute_s=1.0), None),
        (Usage(10, 20, compute_s=1.0), Hardware(None)),
        (Usage(10, 20), H100),
        (Usage(10, 0), RemoteModel(Line(1, 1, 1, 1), Line(1, 1, 1, 1), 400)),
    ],
)
def test_what_nothing_tells_is_unknown(usage: Usage, model: Hardware | RemoteModel | None) -> None:
    assert energy_of(usage, model, 1.0) is None


def test_gas_is_unknown_without_an_intensity() -> None:
    assert energy_of(Usage(1, 1, compute_s=3600), Hardware(5), 1.0) == Energy(
        5.0, None, "estimated:power"
    )


@given(
    whole_s=st.floats(0.001, 1e5),
    parts=st.lists(st.floats(0.01, 1), min_size=1, max_size=16),
)
def test_a_time_that_is_split_takes_no_more_energy(whole_s: float, parts: list[float]) -> None:
    shares = [whole_s * part / sum(parts) for part in parts]
    split = [energy_of(Usage(1, 1, compute_s=share), H100, 1.0) for share in shares]
    whole = energy_of(Usage(1, 1, compute_s=whole_s), H100, 1.0)
    assert whole is not None
    total = sum(one.wh for one in split if one is not None)
    assert total == pytest.approx(whole.wh, abs=1e-9 * (len(parts) + 1))


def test_the_most_that_a_call_may_take_is_that_of_its_whole_time() -> None:
    machine = Hardware(10, 1.5, 100, most_watts=60)
    assert most_energy(machine, 120.0) == Energy(3.0, 0.3, "estimated:power")
    assert most_energy(Hardware(10), 120.0) is None
    assert most_energy(None, 120.0) is None


@pytest.mark.parametrize(
    ("price", "others_usd"),
    [
        (Price("p", usd_per_hour=Decimal(36), usd_per_kwh=Decimal(2)), 1.0),
        (Price("p", Decimal(0), Decimal(0), usd_per_kwh=Decimal(2)), 0.0),
    ],
)
def test_a_budget_sets_the_dearest_electricity_aside(price: Price, others_usd: float) -> None:
    machine = Hardware(10, 1.0, 100, most_watts=3600)
    slm = Deployment("slm", Tier.SMALL, "local", "slm", price=price, energy=machine)
    messages = [{"role": "user", "content": "Hi"}]
    request = parse_chat(orjson.dumps({"model": "slm", "messages": messages}))
    # 3.6 kW for 100 s are a tenth of a kWh.
    found = highest_cost(request, slm, price, Ceiling(compute_s=100), datetime.now(UTC))
    assert found == (others_usd + 0.2) * 10**12
