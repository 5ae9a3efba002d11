"""Pictures of thresholds and curves, as PNG. Needs matplotlib, of the extra `train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gateway.accounting.replay import Sweep, ThresholdOutcome

#: Told apart by people with any colour vision (Okabe and Ito).
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
_CYCLE = (_BLUE, _ORANGE, _GREEN, "#CC79A7", "#E69F00", "#56B4E9")

#: A point of a curve: share sent to the large tier, quality, and the ends of its interval.
CurvePoint = tuple[float, float, float, float]


def plot_sweep(sweep: Sweep, marks: Mapping[str, float], path: Path) -> None:
    """Cost, large share and quality against the threshold, and dollars against expected quality.

    `marks` are named thresholds. Raises OSError when the file can't be written.
    """
    figure = Figure(figsize=(16.5, 4.5), dpi=120, layout="constrained")
    cost, quality, worth = figure.subplots(1, 3)
    _draw_cost(cost, sweep)
    _draw_quality(quality, sweep.outcomes)
    _draw_worth(worth, sweep.outcomes, marks)
    for axes in (cost, quality):
        axes.set(xlabel="threshold", xlim=_limits(sweep.outcomes))
        axes.grid(alpha=0.3)
        for name, threshold in marks.items():
            axes.axvline(threshold, color=_GREY, linestyle=":", linewidth=1.5)
            label = axes.annotate(
                f" {name} {threshold:.4g}",
                (threshold, 0.02),
                xycoords=("data", "axes fraction"),
                color=_GREY,
                fontsize=9,
                annotation_clip=True,
            )
            label.set_in_layout(False)  # a mark beyond the axes would squeeze them
    figure.savefig(path, format="png")


def plot_cost_quality(curves: Mapping[str, Mapping[str, Sequence[CurvePoint]]], path: Path) -> None:
    """Quality against the share sent to the large tier: a panel a source, a line a router.

    The first router's line has its band. Raises OSError when the file can't be written.
    """
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(5 * columns, 4 * rows), dpi=110, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (source, by_router) in zip(panels, curves.items(), strict=False):
        _draw_curves(axes, by_router)
        axes.set_title(source, fontsize=11)
    for axes in figure.axes[len(curves) :]:
        axes.set_visible(False)
    figure.savefig(path, format="png")


def _draw_curves(axes: Axes, by_router: Mapping[str, Sequence[CurvePoint]]) -> None:
    for number, (name, points) in enumerate(by_router.items()):
        share, mean, low, high = zip(*points, strict=True)
        colour = _CYCLE[number % len(_CYCLE)]
        axes.plot(share, mean, color=colour, label=name, linewidth=1.2 if number else 2)
        if not number:
            axes.fill_between(share, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="share sent to the large tier", ylabel="quality", xlim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_cost(axes: Axes, sweep: Sweep) -> None:
    thresholds = [one.threshold for one in sweep.outcomes]
    usd = [float("nan") if one.bill.usd is None else float(one.bill.usd) for one in sweep.outcomes]
    title = "Cost and large share"
    if most_unknown := max((one.bill.unknown for one in sweep.outcomes), default=0):
        title += f" (without up to {most_unknown:,} requests of unknown cost)"
    lines = axes.plot(thresholds, usd, color=_BLUE, marker=".", label="cost")
    axes.set_title(title, fontsize=11)
    axes.set_ylabel("cost of the log, USD", color=_BLUE)
    axes.set_ylim(bottom=0)
    shares = axes.twinx()
    share = [one.large / sweep.routed if sweep.routed else 0.0 for one in sweep.outcomes]
    lines += shares.plot(thresholds, share, color=_ORANGE, linestyle="--", label="large share")
    shares.set_ylabel("large share of routed requests", color=_ORANGE)
    shares.set_ylim(0, 1.02)
    shares.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(handles=lines, loc="upper right")


def _draw_quality(axes: Axes, outcomes: Sequence[ThresholdOutcome]) -> None:
    known = [(one.threshold, one.quality) for one in outcomes if one.quality is not None]
    axes.set_title("Quality by feedback, 95 % interval", fontsize=11)
    axes.set_ylabel("mean feedback")
    axes.set_ylim(0, 1.02)
    if not known:
        said = axes.text(0.5, 0.5, "too little feedback to tell", transform=axes.transAxes)
        said.set(horizontalalignment="center", color=_GREY)
        return
    thresholds = [threshold for threshold, _ in known]
    axes.plot(thresholds, [one.mean for _, one in known], color=_GREEN, marker=".")
    low, high = [one.low for _, one in known], [one.high for _, one in known]
    axes.fill_between(thresholds, low, high, color=_GREEN, alpha=0.2, linewidth=0)


def _draw_worth(
    axes: Axes, outcomes: Sequence[ThresholdOutcome], marks: Mapping[str, float]
) -> None:
    """What each threshold costs and keeps, from all-small to all-large."""
    points = [
        (float(one.bill.usd), one.expected, one.threshold)
        for one in outcomes
        if one.bill.usd is not None and one.expected is not None
    ]
    axes.set_title("Dollars against expected quality, by the logged scores", fontsize=11)
    axes.set(xlabel="cost of the log, USD", ylabel="part of the large tier's quality kept")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    if not points:
        said = axes.text(0.5, 0.5, "no scored request", transform=axes.transAxes)
        said.set(horizontalalignment="center", color=_GREY)
        return
    usd, kept, _ = zip(*points, strict=True)
    axes.plot(usd, kept, color=_ORANGE, marker=".")
    if len(points) == len(outcomes) and outcomes[0].expected == 1 and not outcomes[-1].large:
        # From all-large to all-small; sending a share by chance lies between.
        axes.plot((usd[0], usd[-1]), (kept[0], kept[-1]), color=_GREY, linestyle="--")
        middle = ((usd[0] + usd[-1]) / 2, (kept[0] + kept[-1]) / 2)
        axes.annotate("random", middle, (8, -12), textcoords="offset points", color=_GREY)
    for name, threshold in marks.items():
        for cost, quality, at in points:
            if at == threshold:
                axes.plot(cost, quality, color=_BLUE, marker="o", markersize=8)
                named = f"{name} {threshold:.4g}"
                axes.annotate(
                    named, (cost, quality), (-8, 8), textcoords="offset points", ha="right"
                )


def _limits(outcomes: Sequence[ThresholdOutcome]) -> tuple[float, float]:
    """The thresholds from end to end, with some width even where there is one only."""
    first, last = outcomes[0].threshold, outcomes[-1].threshold
    return (first, last) if last > first else (first - 0.05, first + 0.05)
