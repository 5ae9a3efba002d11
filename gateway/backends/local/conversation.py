"""A request's messages as a chat template takes them: a role and one string of text each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def plain_messages(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Text parts joined; OpenAI's `developer` role is every template's `system`."""
    return [
        {
            "role": "system" if message["role"] == "developer" else message["role"],
            "content": text_of(message.get("content")),
        }
        for message in messages
    ]


def text_of(content: object) -> str:
    """The text of a message's content; parts that aren't text count as empty."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text", "") if isinstance(part, Mapping) else part for part in content)
    return "".join(part for part in parts if isinstance(part, str))
