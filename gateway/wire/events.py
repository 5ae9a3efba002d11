"""The objects in framed server-sent events that are known to be whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson


def objects_in(frames: bytes) -> Iterator[dict[str, Any]]:
    """The JSON object of each event that has one; what a backend has let through is JSON mostly."""
    for event in frames.split(b"\n\n"):
        lines = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
        if not lines:
            continue
        try:
            parsed = orjson.loads(b"\n".join(lines))
        except orjson.JSONDecodeError:
            continue
        if isinstance(parsed, dict):
            yield parsed
