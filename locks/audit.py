"""Asks the advisory service about every locked version; a known vulnerability fails.

Without a service that answers, it says so and passes: what couldn't be asked isn't a finding.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
LOCKS = ("development.txt", "cuda.txt", "llamaindex.txt")
TIMEOUT_S = 120


def audited(lock: Path) -> list[dict[str, object]] | None:
    """What pip-audit says of each version in a lock; None where it reached no service."""
    command = [sys.executable, "-m", "pip_audit", f"--requirement={lock}", "--require-hashes"]
    command += ["--disable-pip", "--no-deps", "--format=json", "--progress-spinner=off"]
    try:
        done = subprocess.run(  # noqa: S603 (our own words)
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
        found: list[dict[str, object]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return found


def main() -> int:
    """1 where a locked version has a known vulnerability, else 0."""
    vulnerable = 0
    for name in LOCKS:
        versions = audited(FOLDER / name)
        asked = [one for one in versions or () if "skip_reason" not in one]
        if not versions or not asked:
            print(f"NOT AUDITED: no advisory service answered about {name}.")
            continue
        print(f"{name}: {len(asked)} of {len(versions)} versions audited.")
        for one in asked:
            for advisory in one["vulns"]:  # type: ignore[attr-defined]
                vulnerable += 1
                fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
                print(f"{one['name']} {one['version']}: {advisory['id']}, fixed in {fixed}")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
