"""What crosses the engine's boundary: a request in, its events out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.core.cascade import Cascade
from gateway.core.certainty import Certainty
from gateway.core.energy import Reading
from gateway.core.usage import Usage

#: One JSON object on the socket, told apart by its `type`.
Event = dict[str, Any]

#: The types of those that end a job.
LAST_EVENTS = frozenset({"end", "low_confidence", "error", "lost"})


def error_event(code: str, message: str) -> Event:
    """The event that ends a job by a failure or a refusal."""
    return {"type": "error", "code": code, "message": message}


@dataclass(slots=True)
class Submission:
    """One request as it came over the socket, and where its events go.

    With a `prompt` the messages aren't read: the model goes on with that text. `asked` holds the
    sampling fields that the request sets. Callers take turns; `caller` tells them apart. `n`
    choices are made of one prompt, which tells of the `tools`; `form` is what an answer is held to
    (see `forms.form_of`). With a `cascade` every event also says the `confidence`, and
    `low_confidence` may be the only one.
    `adapter` names the LoRA adapter that the model answers with, if any.
    """

    messages: Sequence[Mapping[str, Any]]
    asked: Mapping[str, Any]
    emit: Callable[[Event], None]
    cascade: Cascade | None = None
    prompt: str | None = None
    caller: str | None = None
    n: int = 1
    tools: Sequence[Mapping[str, Any]] = ()
    form: Mapping[str, Any] | None = None
    adapter: str | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class EncodeJob:
    """The texts of one request, how its vectors are written, and where its events go.

    `left` are (index, token ids) still to be encoded, the longest last.
    """

    texts: Sequence[str]
    as_base64: bool
    emit: Callable[[Event], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    left: list[tuple[int, list[int]]] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)
    tokens: int = 0
    compute_s: float = 0.0


def usage_of(event: Mapping[str, Any]) -> Usage:
    """What an answer used, from its last event."""
    reading = event.get("reading")
    return Usage(
        prompt_tokens=event["prompt_tokens"],
        completion_tokens=event["completion_tokens"],
        cached_tokens=event.get("cached_tokens", 0),
        source="counted",
        compute_s=event["compute_s"],
        reading=None if reading is None else Reading(**reading),
    )


def certainty_of(event: Mapping[str, Any]) -> Certainty | None:
    """How sure the model was of all that it said, from the last events."""
    told = event.get("certainty")
    return None if told is None else Certainty(**told)
