"""What the simulator answers on `/v1/embeddings`."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

from tests.vendor.behaviour import Behaviour

DIMENSIONS = 8


def embeddings(body: dict[str, Any], behaviour: Behaviour) -> bytes:
    """A vector for each input, which depends on nothing but the input."""
    given = body["input"]
    inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    size = body.get("dimensions") or DIMENSIONS
    as_base64 = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector, as_base64)}
        for index, vector in enumerate(vector_of(one, size) for one in inputs)
    ]
    payload = {"object": "list", "data": data, "model": body["model"], **behaviour.extra}
    if behaviour.usage is not None:
        tokens = sum(len(one) for one in inputs)
        payload["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps(payload).encode()


def vector_of(text: object, size: int = DIMENSIONS) -> list[float]:
    """Numbers that float32 holds exactly."""
    digest = hashlib.shake_256(json.dumps(text).encode()).digest(size)
    return [byte / 256 for byte in digest]


def _written(vector: list[float], as_base64: bool) -> list[float] | str:
    if not as_base64:
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
