"""`replay` as people run it, over a ledger that a real writer filled."""

import csv
import io
import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer
import yaml

from gateway.accounting.database import feedback, open_for_writing
from gateway.app.cli import main
from gateway.app.cli.replay import thresholds_in
from gateway.core.entry import LedgerEntry
from gateway.core.price import UNPRICED, Cost
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import NOON, entry, record
from tests.gateway_process import run_cli

SHIPPED = resources.files("gateway.routing").joinpath("weights", "router.json.gz")
QUIET = {"OPENAI_API_KEY": "", "GATEWAY_API_KEYS": ""}

#: 1,000 tokens in and 100 out: 0.0035 USD on the large tier, 0.0002 on the small one.
PRICES = {
    "large": {"input": "2.5", "output": "10"},
    "small": {"input": "0.1", "output": "1"},
}


def config(folder: Path, name: str = "live.yaml", **routing: Any) -> Path:
    return write_config(folder / name, folder, PRICES, routing)


def write_config(
    path: Path, folder: Path, prices: Mapping[str, Any], routing: Mapping[str, Any]
) -> Path:
    deployments = [
        {
            "name": name,
            "tier": tier,
            "backend": "openai",
            "model": name,
            "base_url": "http://127.0.0.1:9/v1",
            "price": prices[tier],
        }
        for tier, name in (("small", "tiny"), ("large", "big"))
    ]
    ledger = {"url": f"sqlite:///{folder}/ledger.db"}
    sections = {"deployments": deployments, "ledger": ledger, "routing": dict(routing)}
    path.write_text(yaml.safe_dump(sections))
    return path


def call(number: int, rated: float, **changes: Any) -> LedgerEntry:
    """A routed call at the threshold 0.5, a minute after the one before it."""
    large = rated >= 0.5
    values: dict[str, Any] = {
        "request_id": f"r{number:02}",
        "ts": NOON + timedelta(minutes=number),
        "tier": "large" if large else "small",
        "deployment": "big" if large else "tiny",
        "reason": "above_threshold" if large else "below_threshold",
        "score": rated,
        "threshold": 0.5,
        "policy": "balanced",
        "usage": Usage(1000, 100),
        "cost": Cost(Decimal("0.0035" if large else "0.0002"), "computed", "p"),
    }
    return entry(**(values | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 calls with scores 0.0125, 0.0375 … 0.9875 and feedback on each; a pinned one."""
    home = tmp_path_factory.mktemp("replay")
    url = f"sqlite:///{home}/ledger.db"
    calls = [call(number, 0.0125 + number / 40, tags={"team": "a"}) for number in range(40)]
    pinned = {"score": None, "threshold": None, "policy": None, "reason": "pinned"}
    record(url, *calls, call(40, 0.9, **pinned))
    engine = open_for_writing(url, durable=True)
    with engine.begin() as connection:
        marks = [
            {"request_id": one.request_id, "ts": NOON, "score": float(number % 4 != 0)}
            for number, one in enumerate(calls)
        ]
        connection.execute(sa.insert(feedback), marks)
    engine.dispose()
    config(home)
    config(home, "new.yaml", threshold=0.6)
    return home


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command prints, in this process; it ends with status 0."""
    with pytest.raises(SystemExit) as ended:
        main(["replay", *map(str, arguments)])
    output = capsys.readouterr()
    assert ended.value.code == 0, output.err
    return output.out


def test_the_table_marks_the_live_threshold_and_says_what_it_rests_on(folder: Path) -> None:
    text = run_cli(
        "replay",
        "--config",
        folder / "live.yaml",
        "--thresholds",
        "0:1:0.05",
        env={**QUIET, "COLUMNS": "140"},
    )
    rows = [line for line in text.splitlines() if line.startswith("│")]
    assert len(rows) == 21
    (live,) = [line for line in rows if "← live" in line]
    assert live.startswith("│ 0.5 ← live")
    assert "50.0%" in live
    assert "$0.077500" in live
    assert "0.750 (" in live
    assert "As logged: $0.077500 for 41 requests" in text
    assert "Nothing was explored" in text


def test_json_has_one_record_a_threshold(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--config", folder / "live.yaml", "--thresholds", "0:1:0.5", "--format", "json")
    low, live, high = json.loads(told(capsys, *arguments))
    assert live == {
        "threshold": 0.5,
        "live": True,
        "requests": 41,
        "routed": 40,
        "large": 20,
        "large_share": 0.5,
        "to_large": 0,
        "to_small": 0,
        "cost_usd": "0.0775",
        "unknown": 0,
        "expected_quality": live["expected_quality"],
        "quality": 0.75,
        "quality_low": live["quality_low"],
        "quality_high": live["quality_high"],
        "feedbacks": 40,
    }
    assert 0.55 < live["quality_low"] < 0.7
    assert 0.8 < live["quality_high"] < 0.95
    assert (low["to_large"], low["cost_usd"], low["feedbacks"]) == (20, "0.1435", 20)
    assert (high["to_small"], high["cost_usd"], high["live"]) == (20, "0.0115", False)


def test_a_live_threshold_off_the_grid_gets_a_row_of_its_own(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path / "c.yaml", folder, PRICES, {"threshold": 0.33})
    arguments = ("--config", path, "--thresholds", "0:1:0.25", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(told(capsys, *arguments))))
    assert [row["threshold"] for row in rows] == ["0.0", "0.25", "0.33", "0.5", "0.75", "1.0"]
    assert [row["threshold"] for row in rows if row["live"] == "True"] == ["0.33"]


def test_filters_choose_the_requests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ("--config", folder / "live.yaml", "--thresholds", "0:1:1", "--format", "json")
    newest = ("--since", "2026-03-01T12:20", "--until", "2026-03-01T12:39")
    assert json.loads(told(capsys, *base, "--tag", "team=a"))[0]["requests"] == 40
    assert json.loads(told(capsys, *base, *newest))[0]["requests"] == 19
    assert json.loads(told(capsys, *base, "--key", "nobody")) == []


def test_another_configuration_lists_what_it_would_move(folder: Path) -> None:
    text = run_cli(
        "replay",
        "--config",
        folder / "live.yaml",
        "--policy",
        folder / "new.yaml",
        "--list",
        "2",
        env={**QUIET, "COLUMNS": "140"},
    )
    assert "4 requests of 40 that their score decided would move" in text
    assert "0 to large, 4 to small; cost -$0.013200" in text
    moves = [line for line in text.splitlines() if line.startswith("│ r")]
    assert [line.split("│")[1].strip() for line in moves] == ["r23", "r22"]
    assert all("-$0.003300" in line for line in moves)
    assert "the newest 2 of 4 moves" in text


def test_a_comparison_as_json_and_its_moves_as_csv(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("--config", folder / "live.yaml", "--policy", folder / "new.yaml", "--format")
    (outcome,) = json.loads(told(capsys, *base, "json"))
    assert (outcome["moved"], outcome["change_usd"]) == (4, "-0.0132")
    assert (outcome["live"]["cost_usd"], outcome["new"]["cost_usd"]) == ("0.0775", "0.0643")
    assert (outcome["live"]["large_share"], outcome["new"]["large_share"]) == (0.5, 0.4)
    assert outcome["new"]["thresholds"]["balanced"] == 0.6
    rows = list(csv.DictReader(io.StringIO(told(capsys, *base, "csv"))))
    assert rows == [
        {name: "" if value is None else str(value) for name, value in move.items()}
        for move in outcome["moves"]
    ]
    assert (rows[0]["request_id"], rows[0]["ts"]) == ("r23", "2026-03-01T12:23:00.000000Z")


def test_a_plot_is_written_beside_either_output(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, more in enumerate(((), ("--policy", folder / "new.yaml"))):
        path = tmp_path / f"{number}.png"
        told(capsys, "--config", folder / "live.yaml", "--plot", path, *more)
        assert path.read_bytes().startswith(b"\x89PNG")
        assert 20_000 < path.stat().st_size < 500_000


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, status: int) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["replay", *map(str, arguments)])
    output = capsys.readouterr()
    assert ended.value.code == status, output.out
    return output.err


def test_a_plot_that_cannot_be_made_is_a_sentence(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = ("--config", folder / "live.yaml", "--plot")
    assert "can't be written" in refused(capsys, *base, tmp_path / "no" / "x.png", status=1)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    missing = refused(capsys, *base, tmp_path / "x.png", status=1)
    assert missing == "matplotlib is missing: install `slm-gateway[train]`.\n"


def test_a_tier_by_the_hour_is_estimated_from_its_calls_or_unknown(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = PRICES | {"small": {"usd_per_hour": "0.08"}}
    base = ("--thresholds", "1:1:1", "--format", "json", "--config")
    path = write_config(tmp_path / "hourly.yaml", folder, prices, {})
    *_, top = json.loads(told(capsys, *base, path))
    # Its 20 calls cost 0.0002 for 100 output tokens each, as the 20 that move have.
    assert (top["cost_usd"], top["unknown"]) == ("0.0115", 0)
    assert "tiny is priced by the hour" in told(capsys, "--config", path)
    record(f"sqlite:///{tmp_path}/ledger.db", call(1, 0.75), call(2, 0.25, cost=UNPRICED))
    alone = write_config(tmp_path / "alone.yaml", tmp_path, prices, {})
    *_, top = json.loads(told(capsys, *base, alone))
    assert (top["cost_usd"], top["unknown"], top["requests"]) == (None, 2, 2)
    assert "of unknown cost" in told(capsys, "--config", alone)


def test_an_empty_ledger_is_a_sentence_or_empty_and_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(tmp_path)
    assert "none have been recorded yet" in told(capsys, "--config", path)
    assert "none have been recorded yet" in told(capsys, "--config", path, "--policy", path)
    assert told(capsys, "--config", path, "--format", "json") == "[]\n"
    assert told(capsys, "--config", path, "--format", "csv").startswith("threshold,live,")
    assert list(tmp_path.iterdir()) == [path]


def test_a_policy_that_is_gone_and_thresholds_of_their_own_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(f"sqlite:///{tmp_path}/ledger.db", call(1, 0.6, threshold=0.35))
    new = config(tmp_path, "new.yaml", threshold=0.9, policies={"balanced": {}})
    text = told(capsys, "--config", config(tmp_path), "--policy", new)
    assert "no policy cheap, quality" in text
    assert "1 request kept a threshold" in text
    assert "0 requests of 1" in text


def test_a_change_of_classifier_is_said_not_to_be_replayed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policies = {"balanced": {"threshold": 0.6}}
    mine = folder / "mine.json.gz"
    mine.write_bytes(SHIPPED.read_bytes())
    new = config(folder, "other.yaml", classifier=str(mine), policies=policies)
    with pytest.raises(SystemExit):
        main(["replay", "--config", str(folder / "live.yaml"), "--policy", str(new)])
    output = capsys.readouterr()
    assert output.err == "Another classifier would score anew; these are logged scores.\n"
    assert "4 requests of 40" in output.out


def test_bad_configurations_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = folder / "bad.yaml"
    bad.write_text("routing: {treshold: 0.5}")
    said = refused(capsys, "--config", folder / "live.yaml", "--policy", bad, status=2)
    assert "did you mean threshold?" in said


def test_thresholds_step_exactly_and_include_both_ends() -> None:
    steps = thresholds_in("0:1:0.05")
    assert len(steps) == 21
    assert steps[3] == 0.15
    assert (steps[0], steps[-1]) == (0.0, 1.0)
    assert thresholds_in("0.2:0.5:0.2") == (0.2, 0.4)
    assert thresholds_in("0.5:0.5:1") == (0.5,)


@pytest.mark.parametrize(
    "text",
    ["", "0.5", "0:1", "0:1:0", "0:1:-0.1", "1:0:0.1", "0:2:0.5", "a:b:c", "nan:1:0.1",
     "0:1:nan", "0:1:inf", "0:1:0.0001", "0:1:1e-99999", "0:1:1e-9999999", "0:1:0.1:2"],
)  # fmt: skip
def test_other_thresholds_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"thresholds|such as 0:1:0\.05"):
        thresholds_in(text)


def test_the_refusal_shows_how_to_write_thresholds(capsys: pytest.CaptureFixture[str]) -> None:
    assert "0:1:0.05" in refused(capsys, "--thresholds", "0-1", status=2)
