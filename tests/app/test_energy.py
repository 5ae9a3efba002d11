"""Energy models and tariffs of deployments, from their settings."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.app.deployments import deployments_of
from gateway.backends.local.worker import usable_cores
from gateway.core.deployment import Deployment
from gateway.core.energy import Hardware, RemoteModel
from gateway.settings import ConfigError, Environment
from gateway.settings.loader import parse_settings
from tests.power.powercap import zone

LOCAL = {"name": "slm", "tier": "small", "backend": "local", "model": "smollm2-135m-instruct"}
REMOTE = {"name": "gpt", "tier": "large", "backend": "openai", "model": "gpt-4o"}
OPENAI = {"base_url": "https://api.openai.com/v1"}
OWN = {"base_url": "http://127.0.0.1:8000/v1"}
TARIFF = {"usd_per_kwh": 0.3, "pue": 1.5, "grams_co2_per_kwh": 100}


def deployment_of(*entries: dict[str, Any], energy: dict[str, Any] | None = None) -> Deployment:
    merged = {key: value for entry in entries for key, value in entry.items()}
    text = yaml.safe_dump(
        {"deployments": [merged], "energy": {"powercap": "/none", **(energy or {})}}
    )
    (deployment,) = deployments_of(parse_settings(text), Environment.of_process())
    return deployment


def test_a_local_model_draws_so_much_for_each_core() -> None:
    cores = usable_cores()
    all_cores = Hardware(3.5 * cores, 1.0, 458, 3.5 * cores)
    assert deployment_of(LOCAL).energy == all_cores
    assert deployment_of(LOCAL, {"threads": 1}).energy == Hardware(3.5, 1.0, 458, 3.5)
    assert deployment_of(LOCAL, {"threads": 4096}).energy == all_cores
    assert deployment_of(LOCAL, {"power_w": 65}).energy == Hardware(65, 1.0, 458, 65)
    unknown = deployment_of(LOCAL, energy={"grams_co2_per_kwh": None, "watts_per_core": 12})
    assert unknown.energy == Hardware(12 * cores, 1.0, None, 12 * cores)


def test_what_is_measured_may_be_more(tmp_path: Path) -> None:
    zone(tmp_path / "intel-rapl:0", "package-0", 0)
    measured = deployment_of(LOCAL, energy={"powercap": str(tmp_path)}).energy
    assert isinstance(measured, Hardware)
    assert measured.most_watts == 50 * (os.cpu_count() or 1)
    gpus = deployment_of(REMOTE, OWN, {"gpus": [0, 1], "power_w": 993}).energy
    assert gpus == Hardware(993, 1.0, 458, 4000)


def test_a_vendors_model_is_estimated_where_it_is_known() -> None:
    known = deployment_of(REMOTE, OPENAI).energy
    assert isinstance(known, RemoteModel)
    assert known.grams_co2_per_kwh == pytest.approx(384.4)
    swedish = deployment_of(REMOTE, OPENAI, {"electricity_zone": "SWE"}).energy
    assert isinstance(swedish, RemoteModel)
    assert swedish.grams_co2_per_kwh == pytest.approx(35.26)
    assert deployment_of(REMOTE, OPENAI, {"model": "gpt-nobody-knows"}).energy is None
    assert deployment_of(REMOTE, OWN).energy is None


def test_an_upstream_on_own_hardware_has_its_power() -> None:
    h100 = deployment_of(REMOTE, OWN, {"power_w": 993}, energy=TARIFF)
    assert h100.energy == Hardware(993, 1.5, 100, 993)
    assert deployment_of(REMOTE, OWN, {"gpus": [0]}).energy == Hardware(None, 1.0, 458, 2000)


@pytest.mark.parametrize(
    ("entry", "tariff"),
    [
        ({**LOCAL, "price": {"usd_per_hour": 0.08}}, Decimal("0.3")),
        ({**LOCAL, "price": {"input": 0.02, "output": 0.02}}, Decimal("0.3")),
        ({**LOCAL, "price": {"usd_per_hour": 0.08, "includes_electricity": True}}, None),
        ({**REMOTE, **OWN, "power_w": 993, "price": {"usd_per_hour": 3}}, Decimal("0.3")),
        ({**REMOTE, **OPENAI, "price": {"input": 1, "output": 2}}, None),
        ({**REMOTE, **OPENAI}, None),
    ],
)
def test_the_tariff_is_added_to_what_runs_on_own_machines(
    entry: dict[str, Any], tariff: Decimal | None
) -> None:
    with_tariff, without = deployment_of(entry, energy=TARIFF), deployment_of(entry)
    assert with_tariff.price is not None
    assert without.price is not None
    assert with_tariff.price.usd_per_kwh == tariff
    assert without.price.usd_per_kwh is None


def test_no_price_stays_no_price() -> None:
    assert deployment_of(LOCAL, energy=TARIFF).price is None


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({**LOCAL, "electricity_zone": "SWE"}, "electricity_zone is for vendors"),
        ({**LOCAL, "gpus": [0]}, "gpus are those of an upstream"),
        ({**LOCAL, "power_w": 0}, "power_w"),
        ({**REMOTE, **OPENAI, "electricity_zone": "Sweden"}, "electricity_zone"),
        ({**REMOTE, **OPENAI, "electricity_zone": "ZZZ"}, "ZZZ is no ISO 3166-1 alpha-3 code"),
        ({**REMOTE, **OPENAI, "power_wat": 1}, "did you mean power_w?"),
    ],
)
def test_what_makes_no_sense_is_refused(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace("?", r"\?")):
        deployment_of(entry)


@pytest.mark.parametrize("energy", [{"pue": 0.9}, {"usd_per_kwh": -1}, {"watts_per_core": 0}])
def test_impossible_figures_are_refused(energy: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"energy.{next(iter(energy))}"):
        deployment_of(LOCAL, energy=energy)
