"""Reading JSON that nobody has checked yet: the right shape, or an InvalidRequest that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.core.errors import InvalidRequest

Json = dict[str, Any]

#: The most levels of objects and lists that orjson writes; it reads more.
MOST_LEVELS = 254
#: Levels that any body or answer has around the input of a tool call.
_AROUND_TOOL_INPUT = 8
_KINDS: dict[type, str] = {str: "a string", bool: "a boolean", dict: "an object"}


def object_at(value: object, param: str) -> Json:
    """The value as an object whose `type` and `role`, if any, are strings; else InvalidRequest."""
    known = free_object_at(value, param)
    check_optional(known, param, type=str, role=str)
    return known


def free_object_at(value: object, param: str) -> Json:
    """The value as an object of any members, as a schema is; else InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"'{param}' must be an object.", param=param)
    return value


def objects_at(value: object, param: str) -> list[Json]:
    """The value as a list of objects (null is an empty one), else InvalidRequest."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"'{param}' must be a list.", param=param)
    return [object_at(item, f"{param}[{index}]") for index, item in enumerate(value)]


def text_at(holder: Mapping[str, Any], key: str, param: str) -> str:
    """The member `key` as a string, else InvalidRequest."""
    value = holder.get(key)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{param}.{key}' must be a string.", param=f"{param}.{key}")
    return value


def check_optional(holder: Mapping[str, Any], param: str, **kinds: type) -> None:
    """Check members that may be absent or null: str, bool or dict each; else InvalidRequest."""
    for key, kind in kinds.items():
        if not isinstance(holder.get(key), kind | None):
            raise InvalidRequest(f"'{param}.{key}' must be {_KINDS[kind]}.", param=f"{param}.{key}")


def is_writable(raw: str | bytes, value: object, *, spare: int = 0) -> bool:
    """Whether `value`, which is `raw` parsed, can be written again, `spare` levels deeper."""
    data = raw.encode() if isinstance(raw, str) else raw
    if data.count(b"{") + data.count(b"[") <= MOST_LEVELS - spare:
        return True
    for _ in range(spare):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def without(holder: Mapping[str, Any], *keys: str) -> Json:
    """The members that are not named, nulls left out."""
    return {key: value for key, value in holder.items() if key not in keys and value is not None}


def tool_input(arguments: object) -> Json:
    """A tool call's `arguments` as an object; what is none is kept as the text `arguments`.

    So is what is nested too deeply to be written again.
    """
    if isinstance(arguments, dict):
        return arguments
    if not isinstance(arguments, str) or not arguments.strip():
        return {}
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        return {"arguments": arguments}
    is_kept = is_writable(arguments, parsed, spare=_AROUND_TOOL_INPUT)
    return parsed if is_kept else {"arguments": arguments}


def compact(value: object) -> str:
    """The value as JSON text."""
    return orjson.dumps(value).decode()
