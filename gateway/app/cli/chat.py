"""`slm-gateway chat`: a conversation with the running gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from gateway.app.cli.options import ConfigFile, refuse, settings_or_exit
from gateway.settings import Environment

_STREAM_TIMEOUT = httpx.Timeout(10.0, read=300.0)


def chat(
    config: ConfigFile = None,
    model: Annotated[str, typer.Option(help="A name from /v1/models.")] = "auto",
    url: Annotated[
        str | None, typer.Option(help="The gateway; by default the one of the configuration.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy; by default the model's own.", min=0, max=2)
    ] = None,
    once: Annotated[
        str | None, typer.Option("--message", "-m", help="Ask this one question, then end.")
    ] = None,
) -> None:
    """Talk to the running gateway; each answer shows its tier, score and cost."""
    settings = settings_or_exit(config)
    keys = Environment.of_process().client_keys(settings)
    base_url = url or settings.server.url
    headers = {"authorization": f"Bearer {keys[0]}"} if keys else {}
    console = Console(highlight=False)
    with httpx.Client(base_url=base_url, headers=headers, timeout=_STREAM_TIMEOUT) as client:
        conversation: list[dict[str, str]] = []
        options = {"model": model, **({} if temperature is None else {"temperature": temperature})}
        for question in _questions(console, once):
            conversation.append({"role": "user", "content": question})
            try:
                answer = _ask(client, console, options, conversation)
            except httpx.ConnectError:
                refuse(f"No gateway answers on {base_url}: start one with `slm-gateway serve`.", 1)
            if answer is None:
                conversation.pop()
                if once is not None:
                    raise typer.Exit(1)
            else:
                conversation.append({"role": "assistant", "content": answer})


def _questions(console: Console, once: str | None) -> Iterator[str]:
    if once is not None:
        yield once
        return
    console.print("[dim]An empty line or Ctrl-D ends the conversation.[/]")
    while True:
        try:
            question = console.input("[bold cyan]you[/] ").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not question:
            return
        yield question


def _ask(
    client: httpx.Client,
    console: Console,
    options: dict[str, Any],
    conversation: list[dict[str, str]],
) -> str | None:
    """Print the streamed answer and the line under it; None when it failed."""
    body: dict[str, Any] = {
        **options,
        "messages": conversation,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    text = ""
    usage: dict[str, Any] = {}
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            response.read()
            console.print(f"[red]{_message_of(response)}[/]", markup=True)
            return None
        for event in _events(response):
            if "error" in event:
                console.print(f"\n[red]{event['error'].get('message')}[/]")
                return None
            for choice in event.get("choices", ()):
                piece = choice.get("delta", {}).get("content") or ""
                text += piece
                console.print(piece, end="", markup=False)
            usage = event.get("usage") or usage
        console.print()
        console.print(f"[dim]{_summary(response.headers, usage)}[/]")
    return text


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)


def _message_of(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The gateway answered {response.status_code}."


def _summary(headers: httpx.Headers, usage: dict[str, Any]) -> str:
    score = headers.get("x-gateway-score")
    threshold = headers.get("x-gateway-threshold")
    cost = usage.get("cost")
    parts = [
        f"{headers.get('x-gateway-tier')} · {headers.get('x-gateway-model')}",
        f"score {score} (threshold {threshold})" if score else "no score",
        str(headers.get("x-gateway-reason")),
        f"{usage.get('prompt_tokens', '?')} + {usage.get('completion_tokens', '?')} tokens",
        "unpriced" if cost is None else f"${cost:.8f}",
    ]
    return "  ·  ".join(parts)
