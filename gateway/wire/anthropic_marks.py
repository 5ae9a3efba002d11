"""What a translated Messages request carries beside its words, and plain chat upstreams refuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.wire.json_objects import Json

#: Marks of a prompt cache, signed thoughts of earlier turns, whether a tool has failed, sources of
#: what was said, and how the model is to think, as far as `reasoning_effort` doesn't say it.
_MARKS = ("cache_control", "thinking_blocks", "is_error", "citations", "thinking")


def without_marks(chat: Mapping[str, Any]) -> tuple[Json, tuple[str, ...]]:
    """The chat without them, and where they stood, such as `messages[].thinking_blocks`."""
    found: dict[str, None] = {}
    messages = [
        {**_plain(message, "messages[]", found), "content": _content(message, found)}
        for message in chat.get("messages") or ()
    ]
    body = {**_plain(chat, "", found), "messages": messages}
    if "tools" in body:
        body["tools"] = [_plain(tool, "tools[]", found) for tool in body["tools"]]
    return body, tuple(found)


def _content(message: Mapping[str, Any], found: dict[str, None]) -> Any:
    content = message.get("content")
    if not isinstance(content, list):
        return content
    return [_plain(part, "messages[].content[]", found) for part in content]


def _plain(holder: Mapping[str, Any], where: str, found: dict[str, None]) -> Json:
    marks: Iterable[str] = [mark for mark in _MARKS if mark in holder]
    found.update(dict.fromkeys(f"{where}.{mark}".lstrip(".") for mark in marks))
    return {key: value for key, value in holder.items() if key not in _MARKS}
