"""A run as Markdown: the figures of each system, ratios to llama.cpp, goals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from benchmarks.local.asked import CONCURRENT, LONG_PROMPT, NEW_TOKENS, OTHERS, SHORT_PROMPT
from benchmarks.local.compare import Found, Measured
from benchmarks.local.figures import Round
from benchmarks.report import Goal, table

#: llama.cpp's rate of a single stream, of 8 and of 16, times this.
_DECODE_GOALS = {1: 0.6, 8: 1.0, 16: 1.5}

#: More than this part of the cores for others, and threads wait for each other rather than work.
_QUIET = 0.05


def report(found: Found) -> str:
    """The tables, the goals and what there is to say."""
    every = list(found.by_name.values())
    parts = [
        f"Tokens/s written together by 1, 8 and 16 answers of {NEW_TOKENS} tokens to prompts of "
        f"{SHORT_PROMPT}, while all are being written; in brackets all new tokens over all the "
        "time, prompts included. The limit is a single stream's: the memory's "
        f"{found.gigabytes_per_s:.1f} GB/s (read in the same run) over the bytes of the weights.\n",
        table(
            ("", *(f"{count} at a time" for count in CONCURRENT), "limit"),
            [_decode_row(found, one) for one in every],
        ),
        f"\nA prompt of {LONG_PROMPT} tokens; the longest pause of {OTHERS} other answers while it "
        "is read, and their usual one:\n",
        table(
            ("", "first token s", "prompt tokens/s", "longest pause ms", "usual ms"),
            [_prefill_row(one) for one in every],
        ),
        "\nProcesses, each after all of this:\n",
        table(
            ("", "start s", "peak memory MB"),
            [(one.label, f"{one.start_s:.1f}", f"{one.peak_mb:.0f}") for one in every],
        ),
        f"\nOur engine's first start on weights that it has never seen took "
        f"{found.first_start_s:.1f} s and {found.first_peak_mb:.0f} MB at most.",
        "\nGoals (ratios are medians over rounds):\n",
        table(("", "value", "goal", ""), [_goal_row(goal) for goal in _goals(found)]),
        f"\n{_remarks(found)}",
    ]
    return "\n".join(parts)


def _goals(found: Found) -> list[Goal]:
    us = found.by_name.get("us")
    decode = [
        Goal(f"{count} at a time, ours / llama.cpp", _ratio(found, _decode_of(count)), bound, True)
        for count, bound in _DECODE_GOALS.items()
    ]
    prefill = _ratio(found, lambda one: one.prefill)
    return [
        *decode,
        Goal("prompt tokens/s, ours / llama.cpp", prefill, 2.5, True),
        Goal("second start to `/readyz`, s", found.ready_s, 10, False),
        Goal("our engine's peak memory, MB", us.peak_mb if us else None, 700, False),
    ]


def _decode_of(count: int) -> Callable[[Round], float]:
    return lambda one: one.decode[count]


def _ratio(found: Found, figure: Callable[[Round], float]) -> float | None:
    us, peer = found.by_name.get("us"), found.by_name.get("llama")
    if us is None or peer is None:
        return None
    pairs = zip(us.rounds, peer.rounds, strict=False)  # a peer that died has fewer
    return statistics.median(figure(ours) / figure(theirs) for ours, theirs in pairs)


def _median(measured: Measured, figure: Callable[[Round], float]) -> float:
    return statistics.median(figure(one) for one in measured.rounds)


def _decode_row(found: Found, one: Measured) -> tuple[str, ...]:
    cells = []
    for count in CONCURRENT:
        if count in one.rounds[0].decode:
            rate = _median(one, _decode_of(count))
            whole = _median(one, lambda each, count=count: each.whole[count])  # type: ignore[misc]
            cells.append(f"{rate:.1f} ({whole:.1f})")
        else:
            cells.append("as 1")
    return (one.label, *cells, f"{found.limits[one.name]:.0f}")


def _prefill_row(one: Measured) -> tuple[str, ...]:
    pauses = ("–", "–")
    if one.rounds[0].stall_s is not None:
        pauses = (
            _ms(_median(one, lambda each: each.stall_s or math.nan)),
            _ms(_median(one, lambda each: each.usual_s or math.nan)),
        )
    return (
        one.label,
        f"{_median(one, lambda each: each.first_token_s):.2f}",
        f"{_median(one, lambda each: each.prefill):.0f}",
        *pauses,
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f}"


def _goal_row(goal: Goal) -> tuple[str, ...]:
    value = "–" if goal.value is None else f"{goal.value:.2f}"
    return goal.text, value, f"{'≥' if goal.at_least else '≤'} {goal.bound:g}", goal.verdict


def _remarks(found: Found) -> str:
    us = found.by_name.get("us")
    busy = found.taken > _QUIET
    early = sum(one.ended_early for one in us.rounds) if us is not None else 0
    return " ".join(
        (
            "Ours is asked through its socket, and its answers end where the model ends them "
            f"({early} did before their length); the others are asked in their own process and "
            "end by length alone. llama.cpp is driven as its own server drives parallel slots, "
            "all sequences in one batch, by llama-cpp-python, whose HTTP server takes one request "
            "at a time. The other systems' processes are stopped meanwhile. Processes that have "
            f"nothing to do with this had {found.taken:.0%} of the cores' time while it ran"
            + (": **the machine was busy, so the ratios mean little**." if busy else "."),
            *found.notes,
        )
    )
