from __future__ import annotations

from pathlib import Path

from benchmarks.soak import report_of, soak
from benchmarks.traffic import MIX


def test_mixed_traffic_is_answered_as_expected_and_accounted_for(tmp_path: Path) -> None:
    soaked = soak(4, tmp_path)
    assert not soaked.tally.unexpected
    assert len(soaked.tally.asked) == len(MIX)
    assert 0 < soaked.received == soaked.rows
    assert soaked.as_expected
    (_, tasks_before), (_, tasks_after) = soaked.at_rest
    assert tasks_after <= tasks_before + 1
    assert "asyncio tasks" in report_of(soaked)
