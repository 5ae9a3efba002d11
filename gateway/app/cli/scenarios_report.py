"""What `costs --what-if` prints: the bill as it was, beside what it might have been."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.accounting.pricing import usd_text
from gateway.accounting.scenario import Ratio
from gateway.accounting.whatif import Interval, Scenario, WhatIf
from gateway.app.cli.figures import counted, money


def print_scenarios(console: Console, outcomes: Sequence[WhatIf], asked: Scenario) -> None:
    """A line a scenario, the one that was asked for in bold, and what to know about them."""
    chosen = next(one for one in outcomes if one.kind == asked)
    if not chosen.requests:
        console.print("No chats match, or none have been recorded yet.")
        return
    console.print(_table(outcomes, asked))
    for line in _notes(chosen):
        console.print(line, highlight=False)


def bill(tiers: Sequence[Mapping[str, Any]]) -> str:
    """One line: the total of a summary, and how to ask what was saved."""
    known = [Decimal(tier["cost_usd"]) for tier in tiers if tier["cost_usd"] is not None]
    calls, unpriced = (sum(tier[name] for tier in tiers) for name in ("calls", "unpriced"))
    total = money(usd_text(sum(known, Decimal())) if known else None)
    line = f"[bold]Total {total}[/]{_without(unpriced)} for {counted(calls, 'call')}."
    return f"{line} What routing saved: --what-if all-large."


def verdict(outcome: WhatIf) -> str:
    """One line: the total, the scenario's total, and what was saved."""
    spent = money(usd_text(outcome.actual_usd))
    missing = _without(outcome.unpriced)
    line = f"[bold]Total {spent}[/]{missing} for {counted(outcome.requests, 'chat')}."
    if outcome.usd is None:
        return f"{line} What {outcome.kind} would have cost is unknown: no price."
    line += f" {outcome.kind.capitalize()}: {money(usd_text(outcome.usd))}{_left_out(outcome)}."
    if outcome.saved_share is None:
        return line
    colour = "green" if outcome.saved_share >= 0 else "red"
    return f"{line} [{colour}]Saved {outcome.saved_share:.1%}[/]."


def _without(unpriced: int) -> str:
    return f" (without {counted(unpriced, 'unpriced call')})" if unpriced else ""


def _table(outcomes: Sequence[WhatIf], asked: Scenario) -> Table:
    first = outcomes[0]
    table = Table(title=f"{counted(first.requests, 'chat')}, as routed and otherwise")
    table.title_justify = "left"
    table.add_column("", no_wrap=True)
    for name in ("cost", "95 %", "saved by routing", "95 %", "fall short"):
        table.add_column(name, justify="right", no_wrap=True)
    whole = None if first.actual_usd is None else first.actual_usd + (first.router_usd or 0)
    unpriced = f" + {first.unpriced:,} unpriced" if first.unpriced else ""
    cost = money(usd_text(whole)) + unpriced
    table.add_row("as routed", cost, "", "", "", _percent(first.actual_shortfall))
    for one in outcomes:
        table.add_row(
            one.kind,
            _cost(one),
            _ends(one.interval),
            _saved(one),
            _ends(one.saved_interval),
            _percent(one.shortfall),
            style="bold" if one.kind == asked else "",
        )
    return table


def _notes(one: WhatIf) -> Iterator[str]:
    if one.kind == "random" and one.large_share is not None:
        yield (
            f"Random: each of the {one.routed:,} requests that their score decided goes to the "
            f"large tier with the probability {one.large_share:.1%}, which is how many went there. "
            "What is saved over it is what choosing adds to the mere share: here "
            f"{_percent(one.actual_shortfall)} of the answers fall short instead of "
            f"{_percent(one.shortfall)}."
        )
    if one.router_usd is None:
        yield "The router's own cost isn't counted: routing.usd_per_hour says nothing."
    else:
        yield (
            f"The router's own part of the bill: {money(usd_text(one.router_usd))}, the time that "
            "requests spent in the gateway at what its machine costs."
        )
    yield _said(one.prompt_ratio, "prompt", "prompts that both have read")
    yield _said(one.answer_ratio, "answer", "answers to requests of the same scores")
    if one.interval is None:
        yield "There is too little traffic for an interval."
    else:
        yield (
            "Intervals: 1,000 bootstrap resamples of up to 256 blocks of requests, dealt by the "
            "end of their random ids; the ratios above are learnt anew in each."
        )
    if one.shortfall is not None:
        yield (
            "Fall short: the share of routed requests whose answer the router's own scores expect "
            "to fall short of the large tier's."
        )


def _said(ratio: Ratio, noun: str, source: str) -> str:
    if not ratio.requests:
        return (
            f"The {noun}'s tokens are assumed to be as many on either tier: too few {source} to "
            "learn from."
        )
    return (
        f"The {noun}'s tokens: {ratio.value:.3f} on the large tier for one on the small, learnt "
        f"from {ratio.requests:,} {source}."
    )


def _cost(one: WhatIf) -> str:
    if one.usd is None:
        return "unknown"
    return money(usd_text(one.usd)) + (f" + {one.unknown:,} unknown" if one.unknown else "")


def _saved(one: WhatIf) -> str:
    if one.saved_share is None:
        return "–"
    share = f" ({one.saved_share:.1%})" if one.saved_share > -1 else ""
    return _signed(one.saved_usd) + share


def _left_out(outcome: WhatIf) -> str:
    left_out = counted(outcome.unknown, "request")
    return f" (without {left_out} of unknown cost)" if outcome.unknown else ""


def _ends(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    return f"{_signed(interval.low)} to {_signed(interval.high)}"


def _signed(usd: Decimal | None) -> str:
    if usd is None:
        return "–"
    return f"-{money(usd_text(-usd))}" if usd < 0 else money(usd_text(usd))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
