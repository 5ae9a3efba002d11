"""What `prices` prints, for people and for programs."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.app.cli import main
from gateway.core.price import Cost
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import entry, record

DEPLOYMENTS = """\
deployments:
  - name: large
    tier: large
    backend: openai
    model: gpt-4o
    base_url: https://api.openai.com/v1
    api_key_env: null
    price:
      input: 3
      output: 12
      tiers: [{above_tokens: 100000, input: 6}]
      service_tiers: {batch: 0.5}
      hours: [{begins: "16:30", ends: "00:30", factor: 0.5}]
  - name: own
    tier: small
    backend: openai
    model: tiny-finetune
    base_url: http://127.0.0.1:9
    api_key_env: null
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A priced large model, a cheaper reading of it in the catalogue, and one of one's own."""
    path = tmp_path / "gateway.yaml"
    path.write_text(f'{DEPLOYMENTS}ledger: {{url: "sqlite:///{tmp_path}/ledger.db"}}\n')
    return path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["prices", *arguments])
    return int(ended.value.code or 0)


def test_deployments_show_their_price_its_source_and_what_others_say(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--config", str(config)) == 0
    text = capsys.readouterr().out
    for shown in ("config:large", "100,000", "batch:", "openai: 2.5 / 10", "proprietary"):
        assert shown in text, shown
    assert "no price" in text
    assert "genai-prices 0." in text


def test_json_has_every_rate_as_an_exact_text(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--config", str(config), "--format", "json") == 0
    large, own = json.loads(capsys.readouterr().out)
    assert (own["price"], own["source"], own["differing"]) == (None, "none", [])
    assert large["deployment"] == "large"
    night, day, _ = large["price"]["schedule"][0]["prices"]
    assert (night["begins"], night["usd_per_million_input"]) == ("00:00", "1.5")
    assert day["tiers"] == [
        {
            **{"above_tokens": 100000, "price_id": "config:large>100000"},
            **{"usd_per_million_input": "6", "usd_per_million_output": "12"},
            **{"tiers": [], "service_tiers": {}, "schedule": []},
        }
    ]
    assert day["service_tiers"]["batch"]["usd_per_million_output"] == "6"
    assert large["differing"][0] == {
        "source": "genai-prices:openai/gpt-4o",
        "usd_per_million_input": "2.5",
        "usd_per_million_output": "10",
        "context_window": 128000,
    }


def test_models_are_listed_by_any_name_and_csv_has_a_line_each(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("mistralai/Mistral-Nemo-Instruct-2407", "gpt-4o-mini", "own")
    assert run(*names, "--config", str(config), "--format", "csv") == 0
    nemo, mini, own = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (nemo["name"], nemo["licence"], nemo["context_window"]) == (
        "Mistral NeMo 12B",
        "Apache-2.0",
        "131072",
    )
    assert (mini["usd_per_million_input"], mini["usd_per_million_output"]) == ("0.15", "0.6")
    assert (own["deployment"], own["usd_per_million_input"]) == ("own", "")


def test_all_lists_the_launch_list_and_what_makers_sell(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--all", "--config", str(config), "--format", "json") == 0
    names = {one["name"] for one in json.loads(capsys.readouterr().out)}
    assert {"BitNet b1.58 2B4T", "Solar 10.7B", "claude-opus-5-5", "gpt-6.1-sol"} <= names


def test_an_unknown_name_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("no-such", "--config", str(config)) == 2
    assert "No deployment and no known model" in capsys.readouterr().err
    assert run("--config", str(config), "--format", "parquet") == 2


def test_rows_are_priced_again_and_nothing_is_changed(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    booked = Cost(Decimal(10), "computed", "genai-prices:openai/o3")
    moment = datetime(2025, 7, 1, tzinfo=UTC)
    record(url, entry(ts=moment, deployment="o3", usage=Usage(1_000_000, 0), cost=booked))
    assert run("--reprice", "dated", "--config", str(config)) == 0
    text = capsys.readouterr().out
    assert "-$8.00" in text
    assert "1 call of 1 would cost something else: $10.00 was booked, $2.00" in text
    assert run("--reprice", "today", "--config", str(config), "--format", "json") == 0
    (group,) = json.loads(capsys.readouterr().out)
    assert (group["booked_usd"], group["repriced_usd"], group["differing"]) == ("10", "2", 1)
    assert run("--reprice", "dated", "--since", "1d", "--config", str(config)) == 0
    assert "No calls match" in capsys.readouterr().out
