"""The body that goes upstream: the client's own bytes, with as little changed as possible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.core.request import ChatRequest

_MODEL_MEMBER = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")


def upstream_body(
    request: ChatRequest,
    model: str,
    *,
    ask_usage: bool = False,
    ask_logprobs: bool = False,
    max_tokens_field: str | None = None,
) -> bytes:
    """The request's body with `model` replaced.

    Where the bytes allow it they are spliced, so that everything else stays byte for byte;
    otherwise the parsed body is written again, its order kept. `ask_usage` adds
    `stream_options.include_usage`, `ask_logprobs` adds `logprobs`; `max_tokens_field` names the
    limit's field upstream.
    """
    payload = request.payload
    other_limit = _limit_to_rename(payload, max_tokens_field)
    options = payload.get("stream_options")
    added: dict[str, Any] = {}
    if ask_usage and not (isinstance(options, Mapping) and options.get("include_usage")):
        added["stream_options"] = {**(options or {}), "include_usage": True}
    if ask_logprobs and not payload.get("logprobs"):
        added["logprobs"] = True
    if other_limit is None and not added.keys() & payload.keys():
        spliced = _splice_model(request.raw, model)
        if spliced is not None:
            return spliced.rstrip()[:-1] + b"," + orjson.dumps(added)[1:] if added else spliced
    changed = {
        (max_tokens_field if key == other_limit else key): value for key, value in payload.items()
    }
    return orjson.dumps({**changed, "model": model, **added})


def with_model(raw: bytes, payload: Mapping[str, Any], model: str) -> bytes:
    """A JSON body with `model` replaced, the rest byte for byte where the bytes allow it."""
    spliced = _splice_model(raw, model)
    return orjson.dumps({**payload, "model": model}) if spliced is None else spliced


def _splice_model(raw: bytes, model: str) -> bytes | None:
    """The bytes with the model's name exchanged; None unless that is surely right.

    A key can be spelt with escapes and stand twice or deeper. With a single `"model"` and no
    escaped ASCII in the body, that one is the top-level key.
    """
    if raw.count(b'"model"') != 1 or b"\\u00" in raw:
        return None
    member = _MODEL_MEMBER.search(raw)
    if member is None:
        return None
    return raw[: member.start()] + b'"model":' + orjson.dumps(model) + raw[member.end() :]


def _limit_to_rename(payload: Mapping[str, Any], wanted: str | None) -> str | None:
    if wanted is None or payload.get(wanted) is not None:
        return None
    return next(
        (name for name in _TOKEN_LIMITS if name != wanted and payload.get(name) is not None), None
    )
