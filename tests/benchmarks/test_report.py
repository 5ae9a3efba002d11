from __future__ import annotations

from pathlib import Path

from benchmarks.load import LoadResult
from benchmarks.measure import Measured, Round
from benchmarks.report import goals, tables, write_section
from benchmarks.systems import System


def _measured(name: str, per_second: float, latency_ms: float) -> Measured:
    load = LoadResult(seconds=1.0, latencies_ms=[latency_ms] * int(per_second))
    load.first_bytes_ms = load.latencies_ms
    one = Round(load, 100.0, load, load, 200.0)
    system = System(name, name, 1, (), "/healthz")
    return Measured(system, starts_s=[1.0], rounds=[one] * 3, web_mb=100.0)


def test_goals_are_judged_by_what_was_measured() -> None:
    found = {
        "direct": _measured("direct", 9000, 0.2),
        "bare": _measured("bare", 1000, 1.0),
        "us": _measured("us", 700, 1.1),
    }
    verdicts = {goal.text: goal.verdict for goal in goals(found)}
    assert verdicts["plain, ours / bare"] == "**not reached**"
    assert verdicts["plain, ours / LiteLLM"] == "not measured"
    assert verdicts["added at 100/s, p50 ms"] == "reached"
    assert verdicts["failed requests of ours"] == "reached"
    assert "| plain, ours / bare | 0.70 | ≥ 0.75 | **not reached** |" in tables(found)


def test_a_failure_is_shown_and_counts() -> None:
    us = _measured("us", 10, 1.0)
    us.rounds[0].plain.failures["status 500"] += 1
    found = {"us": us}
    verdicts = {goal.text: goal.verdict for goal in goals(found)}
    assert verdicts["failed requests of ours"] == "**not reached**"
    assert "status 500" in tables(found)


def test_a_section_takes_the_place_of_its_old_self(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    write_section("One", "first", path)
    write_section("Two", "second", path)
    write_section("One", "third\n\n### Details\nmore", path)
    text = path.read_text()
    assert "first" not in text
    assert text.index("## One") < text.index("### Details") < text.index("## Two")
    assert text.count("# Results\n") == 1
