"""Exports as people run them: whole files of exact rows, and clear refusals."""

import csv
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from rich.console import Console

from gateway.accounting.query import LedgerReader
from gateway.accounting.row import COLUMNS
from gateway.app.cli import export as exporting
from gateway.app.cli.costs import CostsReport, render_costs
from gateway.app.cli.export import with_progress
from gateway.core.price import UNPRICED, Cost
from tests.accounting.ledger_entries import NOON, entry, record

PICO = Cost(Decimal("0.000000000001"), "computed", "p")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Three rows: one pico-dollar, nine million dollars, and unpriced."""
    address = f"sqlite:///{tmp_path}/ledger.db"
    dear = Cost(Decimal("9000000.000000000001"), "computed", "p")
    record(
        address,
        entry(request_id="a", cost=PICO, tags={"team": "søk", "env": "prod"}, score=0.25),
        entry(request_id="b", cost=dear, ts=NOON + timedelta(seconds=1)),
        entry(request_id="c", cost=UNPRICED, ts=NOON + timedelta(seconds=2)),
    )
    return address


def exported(url: str, target: Path, form: Any, **report: Any) -> Path:
    render_costs(url, [], CostsReport(format=form, output=target, **report))
    return target


def test_parquet_has_every_row_with_exact_amounts(url: str, tmp_path: Path) -> None:
    table = pq.read_table(exported(url, tmp_path / "rows.parquet", "parquet"))
    assert tuple(table.column_names) == COLUMNS
    rows = {row["request_id"]: row for row in table.to_pylist()}
    assert list(rows) == ["c", "b", "a"]
    assert [row["cost_usd"] for row in rows.values()] == [
        None,
        Decimal("9000000.000000000001"),
        Decimal("0.000000000001"),
    ]
    assert rows["a"]["ts"] == NOON
    assert dict(rows["a"]["tags"]) == {"team": "søk", "env": "prod"}
    assert (rows["a"]["score"], rows["a"]["stream"], rows["a"]["prompt_tokens"]) == (
        0.25,
        False,
        10,
    )


def test_sums_and_an_empty_ledger_go_into_parquet_too(url: str, tmp_path: Path) -> None:
    sums = pq.read_table(exported(url, tmp_path / "sums.parquet", "parquet", by="day")).to_pylist()
    assert [(row["day"], row["calls"], row["unpriced"]) for row in sums] == [("2026-03-01", 3, 1)]
    assert sums[0]["cost_usd"] == Decimal("9000000.000000000002")
    none = exported(f"sqlite:///{tmp_path}/none.db", tmp_path / "none.parquet", "parquet")
    assert pq.read_table(none).num_rows == 0


def test_a_file_has_what_standard_output_would(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ("json", "csv"):
        written = exported(url, tmp_path / f"rows.{form}", form).read_text()
        render_costs(url, [], CostsReport(format=form))
        assert written == capsys.readouterr().out
    assert len(json.loads((tmp_path / "rows.json").read_text())) == 3
    with (tmp_path / "rows.csv").open() as stream:
        assert [json.loads(row["tags"]) for row in csv.DictReader(stream)][-1]["env"] == "prod"


def test_a_file_that_cannot_be_written_leaves_the_old_one(url: str, tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    target.write_text("old")

    def broken() -> Any:
        yield LedgerReader(url).rows(limit=1)
        raise OSError(28, "No space left on device")

    with pytest.raises(typer.Exit):
        exporting.export("csv", COLUMNS, broken(), target)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir() if "rows" in path.name) == ["rows.csv"]


def test_parquet_without_a_file_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        render_costs(url, [], CostsReport(format="parquet"))
    assert "add --output FILE" in capsys.readouterr().err


def test_parquet_without_its_extra_says_what_to_install(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gateway.accounting.parquet", None)
    with pytest.raises(typer.Exit):
        exported(url, tmp_path / "x.parquet", "parquet")
    assert "slm-gateway[parquet]" in capsys.readouterr().err


def test_a_long_export_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def terminal(*, stderr: bool) -> Console:
        assert stderr
        return Console(stderr=True, force_terminal=True, width=80)

    monkeypatch.setattr(exporting, "Console", terminal)
    batches = [[{"n": 1}]] * 3
    assert with_progress(batches, 100, 50) is batches
    assert list(with_progress(batches, 30_000, 10_000)) == batches
