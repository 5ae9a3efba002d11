"""What a backend gives back: one `Answer`, or `Chunk`s of a stream, as wire objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.certainty import Certainty
from gateway.core.request import Wire
from gateway.core.usage import Usage


@dataclass(slots=True)
class Answer:
    """A whole `chat.completion` object: its bytes as the backend sent them, and parsed.

    `confidence` (0..1) is how sure the model was of the first tokens, where a cascade watched it;
    `certainty` is how sure it was of the whole answer, where the backend can tell.
    A backend that speaks the request's own wire gives that wire's object instead, and says so in
    `wire`. Of embeddings `payload` may lack the vectors: they are many, and only `raw` is sent on.
    `ignored` names the request's fields that this backend can't honour and that don't
    change what an answer is.
    """

    raw: bytes
    payload: Mapping[str, Any]
    model_served: str | None = None
    usage: Usage | None = None
    confidence: float | None = None
    certainty: Certainty | None = None
    wire: Wire = "chat"
    ignored: tuple[str, ...] = ()


@dataclass(slots=True)
class Chunk:
    r"""One or more whole server-sent events, framed (`data: {…}\n\n`), ready to be sent on.

    A chunk that carries usage holds exactly one event, with `usage` and `payload` (that event
    parsed) set; every other chunk is opaque bytes. The first one's `usage` may be an estimate that
    holds until a later one, in case there is none. `[DONE]` is never a chunk: the API adds it after
    a stream that ended well. `confidence`, `certainty`, `wire` and `ignored` are as in `Answer`;
    `wire` stands on every chunk, the others on any or on none.
    """

    frames: bytes
    events: int = 1
    usage: Usage | None = None
    payload: Mapping[str, Any] | None = None
    model_served: str | None = None
    confidence: float | None = None
    certainty: Certainty | None = None
    wire: Wire = "chat"
    ignored: tuple[str, ...] = ()


Item = Answer | Chunk
