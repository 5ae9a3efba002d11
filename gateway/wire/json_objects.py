"""Reading JSON that nobody has checked yet: the right shape, or an InvalidRequest that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.core.errors import InvalidRequest

Json = dict[str, Any]

#: Levels of a tool's input that can be written again, whatever stands around it: orjson writes 254.
_MOST_INPUT_LEVELS = 246
_KINDS: dict[type, str] = {str: "a string", bool: "a boolean", dict: "an object"}


def mapping_at(value: object, param: str) -> Json:
    """The value as an object of whatever members, else InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"'{param}' must be an object.", param=param)
    return value


def object_at(value: object, param: str) -> Json:
    """The value as an object whose `type` and `role`, if any, are strings; else InvalidRequest."""
    checked = mapping_at(value, param)
    check_optional(checked, param, type=str, role=str)
    return checked


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


def name_in(holder: Mapping[str, Any], key: str) -> str:
    """The member `key` of what an upstream sent; empty where it is no string."""
    value = holder.get(key)
    return value if isinstance(value, str) else ""


def text_in(content: object) -> str:
    """The text of a message's content: a string, or the text among its parts."""
    if isinstance(content, list):
        return "".join(text_in(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


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
    is_kept = isinstance(parsed, dict) and _is_writable(arguments, parsed)
    return parsed if is_kept else {"arguments": arguments}


def _is_writable(arguments: str, parsed: object) -> bool:
    if arguments.count("{") + arguments.count("[") <= _MOST_INPUT_LEVELS:
        return True
    try:
        orjson.dumps([[[[[[[[parsed]]]]]]]])
    except orjson.JSONEncodeError:
        return False
    return True


def compact(value: object) -> str:
    """The value as JSON text."""
    return orjson.dumps(value).decode()
