"""What a chat says beside what is read of it, named as `x-gateway-ignored` names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def asks(value: object) -> bool:
    """Whether a field asks for something, as null, false and what is empty do not."""
    return value is not None and value is not False and value not in ("", [], {})


def extras(holder: object, read: frozenset[str]) -> Iterator[str]:
    """The members of an object that ask for something and aren't read."""
    if isinstance(holder, Mapping) and not holder.keys() <= read:
        yield from (name for name in holder if name not in read and asks(holder[name]))


def stream_extras(chat: Mapping[str, Any]) -> Iterator[str]:
    """Such as `stream_options.include_obfuscation`."""
    names = extras(chat.get("stream_options"), frozenset({"include_usage"}))
    yield from (f"stream_options.{name}" for name in names)


def message_extras(messages: Sequence[Mapping[str, Any]], read: frozenset[str]) -> Iterator[str]:
    """Such as `messages[].name`; may repeat."""
    for message in messages:
        yield from (f"messages[].{name}" for name in extras(message, read))


def part_extras(messages: Sequence[Mapping[str, Any]], read: frozenset[str]) -> Iterator[str]:
    """Such as `messages[].content[].cache_control`; may repeat."""
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            yield from (f"messages[].content[].{name}" for name in extras(part, read))
