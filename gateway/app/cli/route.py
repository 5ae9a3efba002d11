"""`slm-gateway route "PROMPT"`."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from gateway.api.parse import parse_chat
from gateway.api.route import explanation_object
from gateway.app.cli.options import ConfigFile, exit_if_refused, refuse, settings_or_exit
from gateway.app.compose import compose
from gateway.core.errors import GatewayError
from gateway.core.request import Caller
from gateway.settings import Environment

#: Effects smaller than this are noise to a reader.
_SHOWN_CONTRIBUTIONS = 12


def route(
    prompt: Annotated[str, typer.Argument(help="What the user would ask.")],
    config: ConfigFile = None,
    model: Annotated[str, typer.Option(help="auto, auto:POLICY, auto@0.35 or a name.")] = "auto",
    system: Annotated[str | None, typer.Option(help="A system prompt before it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The object of /v1/route.")] = False,  # noqa: FBT002 (typer's form)
) -> None:
    """Explain where a prompt would go: score, margin, and what each feature added."""
    settings = settings_or_exit(config)
    with exit_if_refused():
        gateway = compose(settings, Environment.of_process(), {})
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    try:
        request = parse_chat(orjson.dumps({"model": model, "messages": messages}))
        explanation = gateway.router.explain(request, Caller(request_id="route"))
    except GatewayError as error:
        refuse(error.message, 1)
    outcome = explanation_object(explanation, gateway.estimate_costs(request))
    if as_json:
        typer.echo(orjson.dumps(outcome, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(Console(), outcome)


def _show(console: Console, outcome: dict[str, Any]) -> None:
    score, threshold = outcome["score"], outcome["threshold"]
    console.print(
        f"[bold]{outcome['tier']}[/] → [bold]{outcome['deployment']}[/]  ({outcome['reason']})"
    )
    if score is not None:
        console.print(
            f"score {score:.4f}, threshold {threshold:.4g}, margin {outcome['margin']:+.4f}; "
            f"a threshold above {outcome['flip_threshold']:.4f} sends it to the small tier"
        )
    cascade = outcome["cascade"]
    if cascade is not None:
        console.print(
            f"cascade: escalates when the confidence of the first {cascade['hold_tokens']} tokens "
            f"is below {cascade['min_confidence']:.4g}"
        )
    table = Table("feature", "value", "effect on difficulty", title=f"router {outcome['router']}")
    for part in outcome["contributions"][:_SHOWN_CONTRIBUTIONS]:
        colour = "red" if part["effect"] > 0 else "green"
        bar = "█" * min(20, round(abs(part["effect"]) * 8))
        table.add_row(
            part["feature"], f"{part['value']:.4g}", f"[{colour}]{part['effect']:+.3f} {bar}[/]"
        )
    console.print(table)
    console.print(f"rules: {', '.join(outcome['rules']) or 'none'}")
    if outcome["runner_up"] is not None:
        console.print(f"runner-up: {outcome['runner_up']}")
    for out in outcome["excluded"]:
        console.print(f"[yellow]excluded[/] {out['deployment']}: {out['reason']} {out['detail']}")
    for cost in outcome["costs"]:
        amount = cost["estimated_usd"]
        console.print(f"{cost['deployment']}: {'unknown' if amount is None else '$' + amount}")
