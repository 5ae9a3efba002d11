"""Routers that come from the ledger: `slm-gateway train` without data, `routers`, `shadow`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from gateway.accounting.history import LoggedRequest, kept_messages, requests_of
from gateway.accounting.query import LedgerReader
from gateway.app.cli.costs import When
from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit, training_extra
from gateway.core.deployment import Tier
from gateway.core.errors import LedgerUnavailable
from gateway.routing.classifier import (
    ArtefactMismatch,
    Scorer,
    load_artefact,
    load_scorer,
    pack_artefact,
)
from gateway.routing.registry import Registry, classifier_file

if TYPE_CHECKING:
    from gateway.routing.training.lessons import Lesson
    from gateway.routing.training.promotion import Verdict

DEFAULT_FOLDER = Path("routers")
_MOST_LESSONS = 50_000

Folder = Annotated[
    Path | None,
    typer.Option(
        help="Where versions are kept; by default routing.classifier's folder, else routers.",
        show_default=False,
    ),
]


def learn_from_ledger(
    config: Path | None, since: datetime | None, folder: Path | None, *, dry_run: bool
) -> None:
    """Correct the router by rated live traffic; promote it only if it is shown to be better."""
    settings = settings_or_exit(config)
    used = settings.routing.classifier
    registry = Registry(_folder(folder, used))
    with training_extra(), Console(stderr=True).status("reading, fitting, judging"):
        from gateway.routing.training.lessons import corrected
        from gateway.routing.training.promotion import TooFewRatings

        try:
            artefact, current = load_artefact(classifier_file(used))
            lessons = _lessons(LedgerReader(settings.ledger.url), since)
            taught = [one for one in lessons if not one.is_heldout]
            version = registry.add(pack_artefact(corrected(artefact, taught)))
            verdict = _judged(Scorer(artefact, current), registry, version, lessons)
        except (ArtefactMismatch, LedgerUnavailable, TooFewRatings, ValueError) as error:
            refuse(f"Refused: {error}.", 1)
    console = Console()
    console.print(_verdict_table(current, version, verdict))
    if not verdict.is_better:
        console.print(f"{version} is kept, not promoted: an interval reaches below 0.")
    elif dry_run:
        console.print(f"{version} would be promoted.")
    else:
        registry.promote(version)
        console.print(
            f"{version} is promoted. Use it with [bold]routing.classifier: {registry.folder}[/] "
            "and a restart; slm-gateway routers rollback takes it back. Calibrate targets anew."
        )


def routers(
    action: Annotated[
        Literal["list", "promote", "rollback"], typer.Argument(help="What to do.")
    ] = "list",
    version: Annotated[str | None, typer.Argument(help="Which to promote.")] = None,
    config: ConfigFile = None,
    folder: Folder = None,
) -> None:
    """List the routers that were learnt, put one into use, or take the last one back."""
    registry = Registry(_folder(folder, settings_or_exit(config).routing.classifier))
    try:
        if action == "promote":
            if version is None:
                refuse("Which version? See slm-gateway routers list.")
            registry.promote(version)
        elif action == "rollback":
            typer.echo(f"In use now: {registry.rollback() or 'the shipped router'}.")
    except ArtefactMismatch as error:
        refuse(str(error), 1)
    promoted = registry.promoted()
    table = Table("version", "in use", title=str(registry.folder))
    for name in registry.versions():
        table.add_row(name, "yes" if promoted and name == promoted[-1] else "")
    table.add_row("shipped", "" if promoted else "yes")
    Console().print(table)


def shadow(config: ConfigFile = None, since: When = None) -> None:
    """Compare the live router with the shadow one, on the requests that both have scored."""
    reader = LedgerReader(settings_or_exit(config).ledger.url)
    try:
        found = [
            one
            for one in requests_of(reader, since=since)
            if one.shadow_score is not None and one.score is not None and one.is_routed
        ]
    except LedgerUnavailable as error:
        refuse(error.message, 1)
    if not found:
        refuse("No request has a shadow score; set routing.shadow and serve some traffic.", 1)
    from gateway.accounting.shadowing import compare_shadow

    report = compare_shadow(found)
    table = Table("", "live", f"shadow {report.version}", title=f"{report.requests:,} requests")
    table.add_row("mean score", f"{report.live_mean:.4f}", f"{report.shadow_mean:.4f}")
    table.add_row("sent to large", f"{report.live_share:.1%}", f"{report.shadow_share:.1%}")
    for label, quality in (("rated answers", report.quality), ("AUROC of failures", report.auroc)):
        live, other = (("unknown" if v is None else f"{v:.4f}") for v in quality)
        table.add_row(label, live, other)
    console = Console()
    console.print(table)
    console.print(
        f"At the live thresholds they agree on {report.agreement:.1%}; the shadow would move "
        f"{report.to_large:,} to large and {report.to_small:,} to small."
    )


def _folder(folder: Path | None, used: Path | None) -> Path:
    return folder or (used if used is not None and not used.is_file() else DEFAULT_FOLDER)


def _lessons(reader: LedgerReader, since: When) -> list[Lesson]:
    from gateway.routing.training.lessons import Lesson

    messages = kept_messages(reader, _MOST_LESSONS)
    return [
        Lesson(
            messages=messages[one.request_id],
            session=one.session or one.request_id,
            is_large=one.tier is Tier.LARGE,
            propensity=one.propensity,
            feedback=_rating(one),
            escalated=one.escalated,
        )
        for one in requests_of(reader, since=since)
        if one.request_id in messages and one.is_routed and one.propensity > 0
    ]


def _rating(request: LoggedRequest) -> float | None:
    """Feedback, where it is on the answer of the tier that was chosen."""
    return request.feedback if request.answer_tier is request.tier else None


def _judged(current: Scorer, registry: Registry, version: str, lessons: list[Lesson]) -> Verdict:
    from gateway.routing.training.promotion import Judged, judge

    new = load_scorer(registry.folder / f"{version}.json.gz")
    return judge(
        [
            Judged(
                current.score(one.messages),
                new.score(one.messages),
                one.is_large,
                one.propensity,
                one.feedback,
            )
            for one in lessons
            if one.is_heldout and one.feedback is not None
        ]
    )


def _verdict_table(current: str, version: str, verdict: Verdict) -> Table:
    title = f"{verdict.rated:,} held-out ratings, over 10% to 90% sent to the large tier"
    table = Table("router", "mean rating", "new is better by (95%)", title=title)
    low, high = verdict.gain
    table.add_row(f"current {current}", f"{verdict.current:.4f}", f"{low:+.4f} to {high:+.4f}")
    low, high = verdict.gain_over_chance
    table.add_row("random control", f"{verdict.chance:.4f}", f"{low:+.4f} to {high:+.4f}")
    table.add_row(f"new {version}", f"{verdict.new:.4f}", "")
    return table
