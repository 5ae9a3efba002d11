"""Calls of tools in a model's text, told as they come: `<tool_call>{"name": …, "arguments": …}`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.backends.local.forms import CALL_BEGINS, CALL_ENDS
from gateway.backends.local.stopping import overlap

#: What begins a call in every answer that may have some: without the end of the line it's a word.
_OPENING = f"{CALL_BEGINS}\n"
_NAMED = re.compile(r'\s*\{"name": ("(?:[^"\\]|\\.)*"), "arguments": ')


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


@dataclass(slots=True)
class CallReader:
    """Takes an answer's text piece by piece; the markers around calls are never let out."""

    _held: str = ""
    _scan: _Scan | None = None
    _is_call: bool = False
    #: How many calls have begun.
    calls: int = 0

    def push(self, text: str) -> Iterator[Said]:
        """What may be told now."""
        self._held += text
        before = None
        while self._held != before:
            before = self._held
            yield from self._inside() if self._is_call else self._outside()

    def flush(self) -> Iterator[Said]:
        """What was held back, once no more text will come."""
        # A call that was cut off before its name is nothing that anybody could use.
        if not self._is_call and (self._held.strip() or (self._held and not self.calls)):
            yield Said(text=self._held)
        self._held = ""

    def _outside(self) -> Iterator[Said]:
        text, marker, rest = self._held.partition(_OPENING)
        # White space before a call is none of the answer's, and an end may become a marker.
        shown = text[: len(text) - (0 if marker else overlap(text, _OPENING))].rstrip()
        self._held = rest if marker else text[len(shown) :]
        self._is_call = bool(marker)
        if shown:
            yield Said(text=shown)

    def _inside(self) -> Iterator[Said]:
        if self._scan is None:
            named = _NAMED.match(self._held)
            if named is None:
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
            _, marker, rest = self._held.partition(CALL_ENDS)
            if marker:
                self._is_call, self._scan, self._held = False, None, rest


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
