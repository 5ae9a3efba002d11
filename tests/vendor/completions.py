"""What the simulator answers on `/v1/completions`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.vendor.behaviour import Behaviour


def text_completion(body: dict[str, Any], behaviour: Behaviour) -> bytes:
    """`n` choices for each prompt, which repeat it first where the request says `echo`."""
    choices = [
        _choice(index, prompt + behaviour.text, "stop", body)
        for index, prompt in enumerate(_prompts(body))
    ]
    payload = {**_envelope(body, behaviour), "choices": choices}
    if behaviour.usage is not None:
        payload["usage"] = behaviour.usage
    return json.dumps(payload, ensure_ascii=False).encode()


def text_events(body: dict[str, Any], behaviour: Behaviour) -> Iterator[dict[str, Any]]:
    """The same word by word, one prompt after the other."""
    asked = bool((body.get("stream_options") or {}).get("include_usage"))
    envelope = {**_envelope(body, behaviour), **({"usage": None} if asked else {})}
    for index, prompt in enumerate(_prompts(body)):
        words = [prompt] if prompt else []
        words += [f"{word} " for word in behaviour.text.split(" ")]
        yield from ({**envelope, "choices": [_choice(index, word, None, body)]} for word in words)
        yield {**envelope, "choices": [_choice(index, "", "stop", body)]}
    if asked and behaviour.usage is not None:
        yield {**envelope, "choices": [], "usage": behaviour.usage}


def _prompts(body: dict[str, Any]) -> list[str]:
    """The beginning of each choice."""
    given = body["prompt"]
    one = given is None or isinstance(given, str) or isinstance(given[0], int)
    prompts = [given] if one else given
    return [
        str(prompt) if body.get("echo") else ""
        for prompt in prompts
        for _ in range(body.get("n") or 1)
    ]


def _choice(index: int, text: str, reason: str | None, body: dict[str, Any]) -> dict[str, Any]:
    logprobs = {"tokens": [text], "token_logprobs": [-0.5], "top_logprobs": None}
    return {
        "text": text,
        "index": index,
        "logprobs": {**logprobs, "text_offset": [0]} if body.get("logprobs") is not None else None,
        "finish_reason": reason,
    }


def _envelope(body: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    return {
        "id": "cmpl-simulated",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": f"{body['model']}-served",
        **behaviour.extra,
    }
