"""Messages of the OpenAI API as the plain turns that a chat template takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def turns_of(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Role and text of each message; `developer` is what `system` is called by newer clients.

    Text parts are joined by a newline. Parts of other kinds never come here: the router keeps
    requests with images, audio or files away from models that take text.
    """
    return [{"role": _role_of(message), "content": text_of(_said(message))} for message in messages]


def _said(message: Mapping[str, Any]) -> object:
    return message.get("content") or message.get("refusal")


def _role_of(message: Mapping[str, Any]) -> str:
    role = str(message.get("role", "user"))
    return "system" if role == "developer" else role


def text_of(content: object) -> str:
    """The text of a message's content: a string, parts of text or of a refusal, or nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part if isinstance(part, str) else _text_in(part) for part in content)
    return "\n".join(text for text in texts if isinstance(text, str))


def _text_in(part: Mapping[str, Any]) -> object:
    return part.get("refusal") if part.get("type") == "refusal" else part.get("text")
