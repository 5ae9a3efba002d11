"""The body that goes upstream: the client's own bytes, with as little changed as possible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import orjson

from gateway.core.errors import InvalidRequest

_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
_VALUE = rb'(\s*:\s*)("(?:[^"\\]|\\.)*"|\{[^{}]*\}|[^\s"{}\[\],]+)'
#: A quoted name, and the member: its colon and its value, a string, a flat object or one word.
_MEMBERS = {
    name: (quoted := b'"%b"' % name.encode(), re.compile(quoted + _VALUE))
    for name in ("model", "stream_options", "logprobs", *_TOKEN_LIMITS)
}
#: Where a name stands at several places, so many of them are tried, in a body of at most so many
#: bytes: each try parses the body again, while other requests wait.
_MOST_TRIES = 4
_LONGEST_TO_TRY = 256 * 1024


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
    limit's field upstream. Raises InvalidRequest for what is nested too deeply to be written again.
    """
    changes: dict[str, Any] = {"model": model}
    options = payload.get("stream_options")
    if ask_usage and not (isinstance(options, Mapping) and options.get("include_usage")):
        changes["stream_options"] = {**(options or {}), "include_usage": True}
    if ask_logprobs and not payload.get("logprobs"):
        changes["logprobs"] = True
    names = _renamed_limit(payload, max_tokens_field)
    spliced = _spliced(raw, payload, changes, names)
    if spliced is not None:
        return spliced
    merged = {**payload, **changes}.items()
    taken = names.values()  # such a member is null, else nothing were renamed to it
    whole = {names.get(name, name): value for name, value in merged if name not in taken}
    return written(whole)


def written(body: Mapping[str, Any]) -> bytes:
    """A body as JSON: what was read may be too deep to be written. Raises InvalidRequest."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_value") from None


def with_model(raw: bytes, model: str) -> bytes:
    """A JSON object's bytes with its `model` replaced, everything else as it was."""
    return upstream_body(raw, orjson.loads(raw), model)


def _spliced(
    raw: bytes, payload: Mapping[str, Any], changes: Mapping[str, Any], names: Mapping[str, str]
) -> bytes | None:
    """The bytes with other values and names for some top-level members; None unless surely right.

    Members that the body doesn't have come at its end.
    """
    if names and not payload.keys().isdisjoint(names.values()):
        return None
    edits: list[tuple[int, int, bytes]] = []
    added: dict[str, Any] = {}
    for name in (*changes, *names):
        if name not in payload:
            added[name] = changes[name]
            continue
        member = _top_level_member(raw, payload, name)
        if member is None:
            return None
        if name in changes:
            edits.append((*member.span(2), orjson.dumps(changes[name])))
        else:
            edits.append((member.start(), member.start(1), orjson.dumps(names[name])))
    for start, end, replacement in sorted(edits, reverse=True):
        raw = raw[:start] + replacement + raw[end:]
    return raw.rstrip()[:-1] + b"," + orjson.dumps(added)[1:] if added else raw


def _top_level_member(raw: bytes, payload: Mapping[str, Any], name: str) -> re.Match[bytes] | None:
    """Where a member of the outermost object stands; None unless that is sure.

    A name can be spelt with escapes and stand twice or deeper. If it stands once in a body without
    escaped ASCII, that one is it.
    """
    quoted, pattern = _MEMBERS[name]
    if raw.count(quoted) == 1 and b"\\u00" not in raw:
        return pattern.search(raw)
    if len(raw) > _LONGEST_TO_TRY:
        return None
    candidates = islice(pattern.finditer(raw), _MOST_TRIES)
    others = {key: value for key, value in payload.items() if key != name}
    return next((one for one in candidates if _others_without(raw, one) == others), None)


def _others_without(raw: bytes, member: re.Match[bytes]) -> dict[str, Any] | None:
    """The outermost object's other members, if this is one of it."""
    emptied = raw[: member.start()] + b'"":0' + raw[member.end() :]
    try:
        parsed: dict[str, Any] = orjson.loads(emptied)
    except orjson.JSONDecodeError:  # it stood in a string
        return None
    return parsed if parsed.pop("", None) == 0 else None


def _renamed_limit(payload: Mapping[str, Any], wanted: str | None) -> dict[str, str]:
    if wanted is None or payload.get(wanted) is not None:
        return {}
    given = (name for name in _TOKEN_LIMITS if name != wanted and payload.get(name) is not None)
    return dict.fromkeys(islice(given, 1), wanted)
