"""Where the gateway's time goes: py-spy watches it under plain load, then under streams."""

from __future__ import annotations

import collections
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from benchmarks.measure import Bench, Plan, cores
from benchmarks.systems import PEERS, simulated_upstream, us

FOLDER = Path("build")
TOP = 25
_SAMPLES_A_SECOND = 500
_SETTLING_S = 1.0
#: A function under more of the samples than this only wraps the others.
_WRAPS = 0.95


def profile(seconds: float) -> None:
    """Print the top functions; leave speedscope files in `build/`.

    Raises SystemExit without py-spy. It slows what it watches, so the rates are no results.
    """
    py_spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{PEERS}")
    if py_spy is None:
        raise SystemExit("py-spy isn't installed (make bench installs it into .bench-venv)")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        port, _ = stack.enter_context(simulated_upstream(folder, {cores()[1]}))
        plan = Plan(rounds=0, seconds=seconds, rate_seconds=0, starts=1)
        bench = Bench([us(port, folder)], plan, folder, print)
        measured = bench.run(stack)["us"]
        for kind in ("plain", "streams"):
            path = FOLDER / f"profile-{kind}.speedscope.json"
            duration = str(max(1, round(seconds)))
            where = ("--pid", str(bench.pid("us")), "--duration", duration, "--output", str(path))
            how = ("--format", "speedscope", "--rate", str(_SAMPLES_A_SECOND), "--gil")
            with subprocess.Popen([py_spy, "record", *where, *how], stdout=subprocess.DEVNULL):
                bench.load(measured, seconds + _SETTLING_S, streaming=kind == "streams")
            print(f"\n{kind}, {path}\n{_top(orjson.loads(path.read_bytes()))}")


def _top(found: dict[str, Any]) -> str:
    """Shares of the samples: in a function itself, and in it or what it calls."""
    frames = found["shared"]["frames"]
    names = [f"{one['name']}  {_short(one['file'])}" for one in frames]
    own: collections.Counter[str] = collections.Counter()
    inclusive: collections.Counter[str] = collections.Counter()
    for thread in found["profiles"]:
        for stack, weight in zip(thread["samples"], thread["weights"], strict=True):
            if stack:
                own[names[stack[-1]]] += weight
                inclusive.update(dict.fromkeys({names[frame] for frame in stack}, weight))
    total = sum(own.values())
    for name in [name for name, weight in inclusive.items() if weight > _WRAPS * total]:
        del inclusive[name]
    lines = []
    for title, counter in (("itself", own), ("with what it calls", inclusive)):
        lines.append(f"  {title}:")
        lines += [f"  {n / total:6.1%}  {name}" for name, n in counter.most_common(TOP)]
    return "\n".join(lines)


def _short(path: str) -> str:
    return re.sub(r".*(site-packages|lib/python3\.\d+)/", "", path).removeprefix(f"{Path.cwd()}/")
