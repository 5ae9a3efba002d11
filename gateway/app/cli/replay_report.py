"""What `replay` prints: a sweep of thresholds, or two configurations compared."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from rich.markup import escape
from rich.table import Table

from gateway.accounting.comparison import Comparison, Move, Thresholds
from gateway.accounting.database import iso_z
from gateway.accounting.offpolicy import MIN_FEEDBACKS, Quality
from gateway.accounting.pricing import usd_text
from gateway.accounting.replay import Bill, Sweep, ThresholdOutcome
from gateway.app.cli.figures import (
    ReportFormat,
    console_for_tables,
    counted,
    money,
    plain,
    write_csv,
    write_json,
)
from gateway.app.tier_prices import AVERAGE

_NOTHING = "No requests match, or none have been recorded yet."


def write_sweep(sweep: Sweep, live: Thresholds, output: ReportFormat) -> None:
    """Print a sweep: a table with what to know about it, or one record a threshold."""
    if output != "table":
        records = [_sweep_record(sweep, one, live) for one in sweep.outcomes]
        if output == "csv":
            write_csv(tuple(records[0]), records if sweep.bill.requests else [])
        else:
            write_json(records if sweep.bill.requests else [])
        return
    console = console_for_tables()
    if not sweep.bill.requests:
        console.print(_NOTHING)
        return
    console.print(_sweep_table(sweep, live))
    for line in _sweep_notes(sweep, live):
        console.print(line, highlight=False)


def write_comparison(
    outcome: Comparison, live: Thresholds, new: Thresholds, output: ReportFormat
) -> None:
    """Print a comparison: tables, one JSON object, or the listed moves as CSV."""
    if output == "json":
        write_json([_comparison_record(outcome, live, new)])
        return
    if output == "csv":
        write_csv(_MOVE_COLUMNS, map(_move_record, outcome.moves))
        return
    console = console_for_tables()
    if not outcome.live.bill.requests:
        console.print(_NOTHING)
        return
    console.print(_policies_table(live, new))
    console.print(_sides_table(outcome))
    for line in _comparison_notes(outcome, live, new):
        console.print(line, highlight=False)
    if outcome.moves:
        console.print(_moves_table(outcome))


def _sweep_record(sweep: Sweep, one: ThresholdOutcome, live: Thresholds) -> dict[str, Any]:
    quality = one.quality
    return {
        "threshold": one.threshold,
        "live": one.threshold == live.default_threshold,
        "requests": one.bill.requests,
        "routed": sweep.routed,
        "large": one.large,
        "large_share": _share(one.large, sweep.routed),
        "to_large": one.to_large,
        "to_small": one.to_small,
        "cost_usd": usd_text(one.bill.usd),
        "unknown": one.bill.unknown,
        "expected_quality": one.expected,
        "quality": None if quality is None else quality.mean,
        "quality_low": None if quality is None else quality.low,
        "quality_high": None if quality is None else quality.high,
        "feedbacks": None if quality is None else quality.feedbacks,
    }


def _sweep_table(sweep: Sweep, live: Thresholds) -> Table:
    table = Table(title="the log at other thresholds", title_justify="left")
    table.add_column("threshold", no_wrap=True)
    for name in ("large share", "to large", "to small", "cost", "expected"):
        table.add_column(name, justify="right", no_wrap=True)
    if sweep.feedbacks:
        table.add_column("quality (95 %)", justify="right", no_wrap=True)
        table.add_column("rated", justify="right", no_wrap=True)
    for one in sweep.outcomes:
        is_live = one.threshold == live.default_threshold
        cells = [
            f"{one.threshold:.4g}{' ← live' if is_live else ''}",
            _percent(_share(one.large, sweep.routed)),
            f"{one.to_large:,}",
            f"{one.to_small:,}",
            _bill(one.bill),
            _percent(one.expected),
        ]
        if sweep.feedbacks:
            cells += _quality_cells(one.quality)
        table.add_row(*cells, style="bold" if is_live else "")
    return table


def _quality_cells(quality: Quality | None) -> tuple[str, str]:
    if quality is None:
        return "–", f"<{MIN_FEEDBACKS}"
    return f"{quality.mean:.3f} ({quality.low:.3f}-{quality.high:.3f})", f"{quality.feedbacks:,}"


def _sweep_notes(sweep: Sweep, live: Thresholds) -> Iterator[str]:
    yield (
        f"[bold]As logged: {_bill(sweep.bill)}[/] for {counted(sweep.bill.requests, 'request')}; "
        f"{_percent(_share(sweep.large, sweep.routed))} of the {sweep.routed:,} that their score "
        "decided were sent to the large tier. The others keep their tier and cost."
    )
    if sweep.unserved:
        yield (
            f"For {counted(sweep.unserved, 'request')} the wanted tier had nothing to call; "
            "they are replayed as if it had."
        )
    yield from _price_notes(live)
    if sweep.routed:
        yield (
            "Expected: the part of the large tier's quality that the logged scores expect to be "
            "kept: each is the calibrated probability that the small tier falls short. No answer "
            "was rated for it."
        )
    if not sweep.feedbacks:
        yield "Quality is unknown: there is no feedback on these requests."
    elif sweep.explored:
        yield (
            f"Quality is the mean feedback on {sweep.feedbacks:,} rated requests, "
            "those that keep their tier weighted by 1 / propensity."
        )
    else:
        yield (
            "Nothing was explored (every propensity is 1), so the quality at a threshold covers "
            "only the rated requests that keep their tier there."
        )


def _price_notes(thresholds: Thresholds) -> Iterator[str]:
    for tier, price in thresholds.prices.items():
        if price is None:
            yield f"The {tier} tier has no price: what moves there is of unknown cost."
        elif price.usd_per_hour is not None:
            yield (
                f"The {tier} tier is priced by the hour and has no priced call to average: "
                "what moves there is of unknown cost."
            )
        elif price.price_id.startswith(AVERAGE):
            average = money(usd_text(price.usd_per_million_output))
            yield (
                f"{escape(price.price_id.removeprefix(AVERAGE))} is priced by the hour: what moves "
                f"there is estimated at its average in the log, {average} a million output tokens."
            )


_MOVE_COLUMNS = ("request_id", "ts", "policy", "score", "from_tier", "to_tier", "change_usd")


def _move_record(move: Move) -> dict[str, Any]:
    return {
        "request_id": move.request_id,
        "ts": iso_z(move.ts),
        "policy": move.policy,
        "score": move.score,
        "from_tier": move.from_tier.value,
        "to_tier": move.to_tier.value,
        "change_usd": usd_text(move.change_usd),
    }


def _comparison_record(outcome: Comparison, live: Thresholds, new: Thresholds) -> dict[str, Any]:
    sides = {
        name: {
            "default_policy": thresholds.default_policy,
            "thresholds": thresholds.by_policy,
            "large": side.large,
            "large_share": _share(side.large, outcome.routed),
            "cost_usd": usd_text(side.bill.usd),
            "unknown": side.bill.unknown,
        }
        for name, thresholds, side in (("live", live, outcome.live), ("new", new, outcome.new))
    }
    return {
        "requests": outcome.live.bill.requests,
        "routed": outcome.routed,
        "own_threshold": outcome.own,
        "moved": outcome.moved,
        "to_large": outcome.to_large,
        "to_small": outcome.to_small,
        "change_usd": usd_text(_change(outcome)),
        "change_unknown": outcome.unknown,
        **sides,
        "moves": [_move_record(move) for move in outcome.moves],
    }


def _policies_table(live: Thresholds, new: Thresholds) -> Table:
    table = Table("policy", "live threshold", "new threshold")
    for name in dict.fromkeys((*live.by_policy, *new.by_policy)):
        old, changed = live.by_policy.get(name), new.by_policy.get(name)
        mark = "" if old == changed else "bold"
        table.add_row(escape(name), _threshold(old), _threshold(changed), style=mark)
    defaults = (live.default_policy, new.default_policy)
    table.add_row("(default)", *defaults, style="" if defaults[0] == defaults[1] else "bold")
    return table


def _sides_table(outcome: Comparison) -> Table:
    table = Table("configuration")
    for name in ("large share", "large", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, side in (("live", outcome.live), ("new", outcome.new)):
        share = _percent(_share(side.large, outcome.routed))
        table.add_row(name, share, f"{side.large:,}", _bill(side.bill))
    return table


def _comparison_notes(outcome: Comparison, live: Thresholds, new: Thresholds) -> Iterator[str]:
    unknown = f" (without {outcome.unknown:,} of unknown cost)" if outcome.unknown else ""
    yield (
        f"[bold]{counted(outcome.moved, 'request')} of {outcome.routed:,} that their score decided "
        f"would move[/]: {outcome.to_large:,} to large, {outcome.to_small:,} to small; "
        f"cost {_signed(_change(outcome))}{unknown}."
    )
    if outcome.own:
        yield (
            f"{counted(outcome.own, 'request')} kept a threshold that isn't the live one of their "
            "policy: given with the request, or configured then."
        )
    gone = sorted(live.by_policy.keys() - new.by_policy.keys())
    if gone:
        yield (
            f"[yellow]The new configuration has no policy {escape(', '.join(gone))}[/]: requests "
            "that name it would be refused; they are replayed under the default policy."
        )
    yield from dict.fromkeys((*_price_notes(live), *_price_notes(new)))


def _moves_table(outcome: Comparison) -> Table:
    title = f"the newest {len(outcome.moves):,} of {counted(outcome.moved, 'move')}"
    table = Table(title=title, title_justify="left")
    for name in ("request", "time (UTC)", "policy", "score", "from", "to"):
        table.add_column(name, no_wrap=name != "request", overflow="fold")
    table.add_column("cost change", justify="right", no_wrap=True)
    for move in outcome.moves:
        table.add_row(
            plain(move.request_id),
            f"{move.ts:%Y-%m-%d %H:%M:%S}",
            plain(move.policy or "–"),
            f"{move.score:.4f}",
            move.from_tier.value,
            move.to_tier.value,
            _signed(move.change_usd),
        )
    return table


def _change(outcome: Comparison) -> Decimal | None:
    """The known change; None where every move's is unknown."""
    return None if outcome.unknown and outcome.unknown == outcome.moved else outcome.change_usd


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _threshold(threshold: float | None) -> str:
    return "–" if threshold is None else f"{threshold:.4g}"


def _bill(bill: Bill) -> str:
    if bill.usd is None:
        return "unknown"
    unknown = f" + {bill.unknown:,} unknown" if bill.unknown else ""
    return money(usd_text(bill.usd)) + unknown


def _signed(usd: Decimal | None) -> str:
    if usd is None:
        return "unknown"
    sign = "-" if usd < 0 else "+"
    return f"{sign}{money(usd_text(abs(usd)))}" if usd else "$0"
