"""Calls of tools in a model's text, told as they come, in the dialect of its family."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.backends.local.dialect import HERMES, NAME, Dialect
from gateway.backends.local.stopping import overlap

_STRING = r'"(?:[^"\\]|\\.)*"'
_NAMED = re.compile(rf'\{{"name": {_STRING}')


@dataclass(slots=True)
class Said:
    """A piece of an answer: text, or a part of a call; `name` comes with a call's first part."""

    text: str = ""
    call: int | None = None
    name: str | None = None
    arguments: str = ""
    id: str | None = None


@dataclass(slots=True)
class _Scan:
    """Follows a JSON value to its end."""

    depth: int = 0
    is_string: bool = False
    is_escaped: bool = False
    has_ended: bool = False

    def taken(self, text: str) -> str:
        """As much of the text as belongs to the value."""
        for place, character in enumerate(text):
            if self._ends_with(character):
                self.has_ended = True
                return text[: place + 1]
        return text

    def _ends_with(self, character: str) -> bool:
        if self.is_string:
            if self.is_escaped:
                self.is_escaped = False
            elif character == "\\":
                self.is_escaped = True
            elif character == '"':
                self.is_string = False
        elif character == '"':
            self.is_string = True
        elif character in "{[":
            self.depth += 1
        elif character in "}]":
            self.depth -= 1
            return self.depth == 0
        return False


class CallReader:
    """Takes an answer's text piece by piece; the markers around calls are never let out."""

    def __init__(self, dialect: Dialect = HERMES) -> None:
        self._dialect = dialect
        self._key = f', "{dialect.arguments}": '
        self._begins = re.compile(
            rf"\s*(?:{dialect.lead})?\s*\{{\"name\": ({_STRING}){re.escape(self._key)}"
        )
        self._held = ""
        self._scan: _Scan | None = None
        self._is_call = dialect.is_whole
        #: How many calls have begun.
        self.calls = 0

    def push(self, text: str) -> Iterator[Said]:
        """What may be told now."""
        self._held += text
        before = None
        while (self._held, self._is_call) != before:
            before = (self._held, self._is_call)
            yield from self._inside() if self._is_call else self._outside()

    def flush(self) -> Iterator[Said]:
        """What was held back, once no more text will come."""
        # A call that was cut off before its name is nothing that anybody could use.
        if not self._is_call and (self._held.strip() or (self._held and not self.calls)):
            yield Said(text=self._held)
        self._held = ""

    def _outside(self) -> Iterator[Said]:
        opening = self._dialect.opening
        if not opening:
            text, self._held = self._held, ""
            if text and not self.calls:
                yield Said(text=text)
            return
        text, marker, rest = self._held.partition(opening)
        # White space before a call is none of the answer's, and an end may become a marker.
        shown = text[: len(text) - (0 if marker else overlap(text, opening))].rstrip()
        self._held = rest if marker else text[len(shown) :]
        self._is_call = bool(marker)
        if shown:
            yield Said(text=shown)

    def _inside(self) -> Iterator[Said]:
        if self._scan is None:
            named = self._begins.match(self._held)
            if named is None:
                self._is_call = not self._dialect.is_whole or self._may_be_call()
                return
            self._scan, self._held = _Scan(), self._held[named.end() :]
            name = orjson.loads(named[1])
            yield Said(call=self.calls, name=name, id=f"call_{uuid.uuid4().hex[:24]}")
            self.calls += 1
        elif not self._scan.has_ended:
            arguments = self._scan.taken(self._held)
            self._held = self._held[len(arguments) :]
            if arguments:
                yield Said(call=self.calls - 1, arguments=arguments)
        else:
            self._end()

    def _may_be_call(self) -> bool:
        """Whether an answer that has begun like this may still become a call."""
        if not self._held.startswith(NAME):
            return NAME.startswith(self._held)
        named = _NAMED.match(self._held)
        rest = self._held[named.end() :] if named is not None else ""
        return self._key.startswith(rest) or rest.startswith(self._key)

    def _end(self) -> None:
        """Leave the call whose arguments have ended, or go on to the next."""
        between, closing = self._dialect.between, f"}}{self._dialect.closing}"
        if between is not None and self._held.startswith(f"}}{between}"):
            self._scan, self._held = None, self._held[len(between) + 1 :]
        elif self._held.startswith(closing):
            self._is_call, self._scan, self._held = False, None, self._held[len(closing) :]


def tool_calls_of(parts: list[Said]) -> list[dict[str, Any]]:
    """The calls of a whole answer, as a message has them."""
    found: dict[int, dict[str, Any]] = {}
    for part in parts:
        if part.call is None:
            continue
        if part.name is not None:
            function = {"name": part.name, "arguments": ""}
            found[part.call] = {"id": part.id, "type": "function", "function": function}
        found[part.call]["function"]["arguments"] += part.arguments
    return list(found.values())
