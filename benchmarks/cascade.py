"""What a cascade gains and costs, with the real small model: `python -m benchmarks.cascade`.

The gateway answers tasks whose answers can be checked. First the small model alone, watched but
never given up: how well does its confidence tell right from wrong, and what would each threshold
escalate? Then every third task end to end at one threshold, plain and streaming, with the vendor
simulator as a large model that is always right.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import orjson
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.checkable import Task, tasks
from gateway.routing.training.metrics import auroc
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

THRESHOLDS = tuple(step / 10 for step in range(11))
#: Threshold 1 sends every prompt to the small tier: what is measured here is the cascade alone.
EVERYTHING_SMALL = 1.0


@dataclass(slots=True, frozen=True)
class Asked:
    """One request as its client saw it."""

    task: Task
    text: str
    request_id: str
    tier: str
    first_byte_s: float

    @property
    def is_right(self) -> bool:
        return self.task.is_right(self.text)


@dataclass(slots=True, frozen=True)
class Watched:
    """What the small model alone made of a task."""

    task: Task
    is_right: bool
    confidence: float
    held_tokens: int


def config_of(vendor: RunningVendor, hold_tokens: int, min_confidence: float) -> dict[str, Any]:
    """Three policies: the small model alone, watched without consequence, and the cascade."""
    large = {
        "name": "large",
        "tier": "large",
        "backend": "openai",
        "model": "gpt-4o",
        "base_url": vendor.base_url,
        "price": {"input": 2.5, "cached_input": 1.25, "output": 10},
        "context_window": 128000,
    }
    small = {
        "name": "small",
        "tier": "small",
        "backend": "local",
        "model": "smollm2-135m-instruct",
        "price": {"usd_per_hour": 0.08},
    }
    watched = {"hold_tokens": hold_tokens, "min_confidence": 0}
    cascade = {"hold_tokens": hold_tokens, "min_confidence": min_confidence}
    policies = {
        "alone": {"threshold": EVERYTHING_SMALL},
        "watched": {"threshold": EVERYTHING_SMALL, "cascade": watched},
        "cascade": {"threshold": EVERYTHING_SMALL, "cascade": cascade},
    }
    routing = {"default_policy": "alone", "policies": policies}
    return {"deployments": [small, large], "routing": routing}


class Asker:
    """Asks the gateway one task after another; the large model is told the right answer before."""

    def __init__(self, http: httpx.Client, vendor: RunningVendor, max_tokens: int) -> None:
        self._http = http
        self._vendor = vendor
        self._max_tokens = max_tokens

    def ask(self, task: Task, policy: str, *, stream: bool = False) -> Asked:
        self._vendor.always(Behaviour(text=task.answer))
        body = {
            "model": f"auto:{policy}",
            "messages": [{"role": "user", "content": task.question}],
            "temperature": 0,
            "max_tokens": self._max_tokens,
            "stream": stream,
        }
        began = time.perf_counter()
        with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
            pieces = response.iter_bytes()
            content = next(pieces)
            first_byte_s = time.perf_counter() - began
            content += b"".join(pieces)
        headers = response.headers
        text = _streamed(content) if stream else _plain(content)
        return Asked(task, text, headers["x-request-id"], headers["x-gateway-tier"], first_byte_s)


def _plain(content: bytes) -> str:
    text: str = orjson.loads(content)["choices"][0]["message"]["content"]
    return text


def _streamed(content: bytes) -> str:
    events = [line[6:] for line in content.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for event in events for choice in orjson.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def watch(asker: Asker, gateway: RunningGateway, hold_tokens: int) -> list[Watched]:
    """Every task to the small model alone, with its confidence from the ledger."""
    everything = [
        asker.ask(task, "watched") for task in track(tasks(), "small model alone", transient=True)
    ]
    rows = {row["request_id"]: row for row in gateway.ledger_rows(len(everything))}
    return [
        Watched(
            asked.task,
            asked.is_right,
            rows[asked.request_id]["confidence"],
            min(hold_tokens, rows[asked.request_id]["completion_tokens"]),
        )
        for asked in everything
    ]


def kinds_table(watched: Sequence[Watched]) -> Table:
    table = Table(
        "kind", "tasks", "small alone right", "confidence if right", "if wrong", "AUROC",
        title="The small model alone",
    )  # fmt: skip
    kinds = list(dict.fromkeys(one.task.kind for one in watched))
    for kind in [*kinds, "all"]:
        some = [one for one in watched if kind in {one.task.kind, "all"}]
        area = auroc([one.confidence for one in some], [one.is_right for one in some])
        table.add_row(
            kind,
            str(len(some)),
            f"{_share(one.is_right for one in some):.0%}",
            _mean(one.confidence for one in some if one.is_right),
            _mean(one.confidence for one in some if not one.is_right),
            f"{area:.2f}",
        )
    return table


def thresholds_table(watched: Sequence[Watched]) -> Table:
    table = Table(
        "min_confidence", "escalated", "right", "right if as many were drawn at random",
        "small tokens wasted", title="By threshold, the large model counted as right",
    )  # fmt: skip
    alone = _share(one.is_right for one in watched)
    for threshold in THRESHOLDS:
        escalated = [one for one in watched if one.confidence < threshold]
        share = len(escalated) / len(watched)
        right = _share(one.is_right or one.confidence < threshold for one in watched)
        table.add_row(
            f"{threshold:.1f}",
            f"{share:.0%}",
            f"{right:.0%}",
            f"{alone + share * (1 - alone):.0%}",
            str(sum(one.held_tokens for one in escalated)),
        )
    return table


def end_to_end_table(asker: Asker, gateway: RunningGateway) -> Table:
    """Every third task: streamed by the small model alone, then by the cascade, then plain."""
    runs = {
        "small alone, streamed": ("alone", True),
        "cascade, streamed": ("cascade", True),
        "cascade, plain": ("cascade", False),
    }
    found: dict[str, list[Asked]] = {name: [] for name in runs}
    for task in track(tasks()[::3], "end to end", transient=True):
        for name, (policy, stream) in runs.items():
            found[name].append(asker.ask(task, policy, stream=stream))
    by_request: dict[str, list[dict[str, Any]]] = {}
    for row in gateway.ledger_rows():
        by_request.setdefault(row["request_id"], []).append(row)
    table = Table(
        "run", "requests", "right", "escalated", "first byte, median (escalated)",
        "ledger rows a request", "USD", title="End to end",
    )  # fmt: skip
    for name, answers in found.items():
        rows = [by_request[asked.request_id] for asked in answers]
        large = [asked for asked in answers if asked.tier == "large"]
        sizes = Counter(len(some) for some in rows)
        table.add_row(
            name,
            str(len(answers)),
            f"{_share(asked.is_right for asked in answers):.0%}",
            f"{len(large) / len(answers):.0%}",
            f"{_median_ms(answers)} ({_median_ms(large)})",
            ", ".join(f"{count}x {size}" for size, count in sorted(sizes.items())),
            f"{sum(Decimal(row['cost_usd']) for some in rows for row in some):f}",
        )
    return table


def _share(events: Iterable[bool]) -> float:
    return statistics.fmean(map(float, events))


def _mean(values: Iterable[float]) -> str:
    some = list(values)
    return f"{statistics.fmean(some):.2f}" if some else "–"


def _median_ms(answers: Sequence[Asked]) -> str:
    if not answers:
        return "–"
    return f"{statistics.median(asked.first_byte_s for asked in answers) * 1e3:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hold-tokens", type=int, default=24)
    parser.add_argument("--min-confidence", type=float, default=0.6)
    parser.add_argument("--max-tokens", type=int, default=32)
    options = parser.parse_args()
    console = Console()
    began = time.perf_counter()
    vendor = RunningVendor()
    config = config_of(vendor, options.hold_tokens, options.min_confidence)
    with (
        tempfile.TemporaryDirectory() as name,
        running_gateway(Path(name), config) as gateway,
        httpx.Client(base_url=gateway.url, timeout=120) as http,
    ):
        asker = Asker(http, vendor, options.max_tokens)
        watched = watch(asker, gateway, options.hold_tokens)
        end_to_end = end_to_end_table(asker, gateway)
    vendor.stop()
    console.print(
        f"hold_tokens {options.hold_tokens}, min_confidence {options.min_confidence:g} end to end, "
        f"max_tokens {options.max_tokens}, greedy; {time.perf_counter() - began:.0f} s"
    )
    for table in (kinds_table(watched), thresholds_table(watched), end_to_end):
        console.print(table)


if __name__ == "__main__":
    main()
