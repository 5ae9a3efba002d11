"""The body that goes upstream: the client's own bytes, with as little changed as possible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import orjson

_MODEL_MEMBER = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
#: A letter of `model`, spelt with an escape.
_ESCAPED_LETTER = re.compile(rb"\\u006[45cdf]", re.IGNORECASE)
#: Members named `model` that are looked at, and bytes of a body that is parsed for each of them.
_MOST_MEMBERS = 4
_LONGEST_READ_AGAIN = 1024 * 1024
_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")


def upstream_body(
    raw: bytes,
    payload: Mapping[str, Any],
    model: str,
    *,
    ask_usage: bool = False,
    ask_logprobs: bool = False,
    max_tokens_field: str | None = None,
) -> bytes:
    """A body, as bytes and parsed, with `model` replaced.

    Where the bytes allow it they are spliced, so that everything else stays byte for byte;
    otherwise the parsed body is written again, its order kept. `ask_usage` adds
    `stream_options.include_usage`, `ask_logprobs` adds `logprobs`; `max_tokens_field` names the
    limit's field upstream.
    """
    other_limit = _limit_to_rename(payload, max_tokens_field)
    options = payload.get("stream_options")
    added: dict[str, Any] = {}
    if ask_usage and not (isinstance(options, Mapping) and options.get("include_usage")):
        added["stream_options"] = {**(options or {}), "include_usage": True}
    if ask_logprobs and not payload.get("logprobs"):
        added["logprobs"] = True
    if other_limit is None and not added.keys() & payload.keys():
        spliced = _splice_model(raw, model)
        if spliced is not None:
            return spliced.rstrip()[:-1] + b"," + orjson.dumps(added)[1:] if added else spliced
    changed = {
        (max_tokens_field if key == other_limit else key): value for key, value in payload.items()
    }
    return orjson.dumps({**changed, "model": model, **added})


def with_model(raw: bytes, model: str) -> bytes:
    """A JSON object's bytes with its `model` replaced, everything else as it was."""
    spliced = _splice_model(raw, model)
    return orjson.dumps({**orjson.loads(raw), "model": model}) if spliced is None else spliced


def _splice_model(raw: bytes, model: str) -> bytes | None:
    """The bytes with the model's name exchanged; None unless that is surely right.

    A key can be spelt with escapes and stand twice or deeper. With a single `"model"` that has a
    string and no escaped letter of it in the body, that one is the top-level key.
    """
    most = (
        1 if raw.count(b'"model"') == 1 else _MOST_MEMBERS + 1
    )  # counting is quick, reading isn't
    members = list(islice(_MODEL_MEMBER.finditer(raw), most))
    if len(members) == 1 and not (b"\\u00" in raw and _ESCAPED_LETTER.search(raw)):
        member = members[0]
    elif len(members) > _MOST_MEMBERS or len(raw) > _LONGEST_READ_AGAIN:
        return None
    else:
        # The only one at the top is the one without which there is none.
        alone = (one for one in members if "model" not in orjson.loads(_renamed(raw, one)))
        if (found := next(alone, None)) is None:
            return None
        member = found
    return raw[: member.start()] + b'"model":' + orjson.dumps(model) + raw[member.end() :]


def _renamed(raw: bytes, member: re.Match[bytes]) -> bytes:
    """The body with another key in the model's place."""
    return raw[: member.start()] + b'"":0' + raw[member.end() :]


def _limit_to_rename(payload: Mapping[str, Any], wanted: str | None) -> str | None:
    if wanted is None or payload.get(wanted) is not None:
        return None
    return next(
        (name for name in _TOKEN_LIMITS if name != wanted and payload.get(name) is not None), None
    )
