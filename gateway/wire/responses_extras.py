"""What a `POST /v1/responses` body says and its chat body doesn't."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.wire.extras import extras

#: What OpenAI adds to its own items when it gives them out.
_BOOKS = frozenset({"type", "id", "status"})
_CALL = _BOOKS | {"call_id", "name"}
_READ = {
    "message": _BOOKS | {"role", "content"},
    "function_call": _CALL | {"arguments"},
    "function_call_output": _BOOKS | {"call_id", "output"},
    "custom_tool_call": _CALL | {"input"},
    "custom_tool_call_output": _BOOKS | {"call_id", "output"},
}
_PART = frozenset({"type", "prompt_cache_breakpoint"})
_READ_OF_PARTS = {
    "input_text": _PART | {"text"},
    "output_text": _PART | {"text", "annotations", "logprobs"},
    "refusal": _PART | {"refusal"},
    "input_image": _PART | {"image_url", "detail"},
    "input_file": _PART | {"file_data", "file_id", "filename"},
    "input_audio": _PART | {"input_audio"},
}
_READ_OF_OPTIONS = {
    "reasoning": frozenset({"effort", "mode"}),
    "text": frozenset({"format", "verbosity"}),
    "stream_options": frozenset[str](),
}


def left_out(body: Mapping[str, Any]) -> Iterator[str]:
    """The places, such as `reasoning.summary` and `input[].content[].detail`; may repeat."""
    for option, read in _READ_OF_OPTIONS.items():
        yield from (f"{option}.{name}" for name in extras(body.get(option), read))
    given = body.get("input")
    for item in given if isinstance(given, list) else ():
        if isinstance(item, Mapping):
            yield from _of_item(item)


def _of_item(item: Mapping[str, Any]) -> Iterator[str]:
    kind = item.get("type") or "message"
    if kind == "reasoning":
        yield "input.reasoning"
    read = _READ.get(kind) if isinstance(kind, str) else None
    if read is None:
        return
    yield from (f"input[].{name}" for name in extras(item, read))
    for place in ("content", "output"):
        parts = item.get(place)
        for part in parts if isinstance(parts, list) else ():
            yield from (f"input[].{place}[].{name}" for name in _of_part(part))


def _of_part(part: object) -> Iterator[str]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    read = _READ_OF_PARTS.get(kind) if isinstance(kind, str) else None
    if read is not None:
        yield from extras(part, read)
