"""A request that goes upstream as it came, and its answer that comes back as it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.core.answer import Chunk

#: The reason in rows and headers: nothing was routed.
PASSTHROUGH = "passthrough"


@dataclass(slots=True, frozen=True)
class ForwardedRequest:
    """One request for an upstream's own endpoint; neither body nor parameters are translated.

    `path` stands below the API's base, without `query`; `endpoint` is the whole path as a template.
    `model` is "" where the request names none; it stands in `payload`, the body parsed where it is
    JSON, or at `model_span` (start, end) of the bytes of a form. `is_metered` says that usage in
    the answer is this request's own; `characters` are those of a text to be spoken. `received_s` is
    when the body had arrived, on the `time.perf_counter` clock.
    """

    method: str
    path: str
    endpoint: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str | None = None
    accept: str | None = None
    model: str = ""
    payload: Mapping[str, Any] | None = None
    model_span: tuple[int, int] | None = None
    stream: bool = False
    is_metered: bool = False
    characters: int = 0
    received_s: float = field(default_factory=time.perf_counter)

    @property
    def is_repeatable(self) -> bool:
        """Whether a second attempt can't do or cost anything twice."""
        return self.method == "GET"


@dataclass(slots=True)
class Piece(Chunk):
    """A part of an answer that is sent on as it came: `frames` are any bytes.

    The first one tells the answer's `status` and the `headers` that go on to the client, and
    whether it `is_whole`: then nothing but usage follows.
    """

    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    is_whole: bool = False
