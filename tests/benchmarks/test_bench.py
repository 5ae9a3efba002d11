from __future__ import annotations

import re
import subprocess
import sys


def test_ours_and_the_bare_proxy_are_measured() -> None:
    quick = "--rounds 1 --seconds 0.4 --warm-up 0.2 --rate-seconds 0.3 --starts 1"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", "--only", "us,bare", *quick.split()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = done.stdout
    for label in ("slm-gateway, everything on", "bare Starlette"):
        assert len(re.findall(rf"^\| {label}.*\d", report, re.MULTILINE)) == 4
    assert "| failed requests of ours | 0.00 | ≤ 0 | reached |" in report
    proof = re.search(r"([\d,]+) ledger rows for ([\d,]+) answers", report)
    assert proof is not None
    assert proof[1] == proof[2]
    assert "Without a key ours answers 401" in report
