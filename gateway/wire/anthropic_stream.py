"""Streams, one parsed event at a time: Anthropic's events to chat chunks, and back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.core.errors import UpstreamError
from gateway.wire.anthropic_answer import (
    chat_error,
    chat_usage,
    finish_reason,
    messages_usage,
    reasoning_in,
    refusal_of,
    status_of,
    stop_details,
    stop_reason,
    texts_of,
)
from gateway.wire.confidence import confidence_in
from gateway.wire.json_objects import Json, compact, name_in


class ChunksFromEvents:
    """Anthropic's events in, `chat.completion.chunk` objects out.

    The last chunk carries usage and no choice, if the whole answer was counted. `done` is set once
    `message_stop` has come; a stream that ends before it was cut off. An `error` event is raised
    as UpstreamError.
    """

    def __init__(self, *, created_s: int | None = None) -> None:
        self._frame: Json = {
            "id": "",
            "object": "chat.completion.chunk",
            "created": int(time.time()) if created_s is None else created_s,
            "model": "",
        }
        self._usage: Json = {}
        self._is_counted = False
        self._blocks: dict[int, Json] = {}
        self._calls = 0
        self._readers: dict[str, Callable[[Mapping[str, Any]], list[Json]]] = {
            "message_start": self._message_start,
            "content_block_start": self._start,
            "content_block_delta": self._delta,
            "content_block_stop": self._stop,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
        }
        self.done = False

    def push(self, event: Mapping[str, Any]) -> list[Json]:
        """The chunks that this event makes; none for `ping` and for events that aren't known."""
        if event.get("type") == "error":
            raise _upstream_error(event)
        read = self._readers.get(str(event.get("type")))
        return [] if read is None else read(event)

    def _message_start(self, event: Mapping[str, Any]) -> list[Json]:
        message = event.get("message") or {}
        self._frame["id"] = name_in(message, "id")
        self._frame["model"] = name_in(message, "model")
        self._count(message.get("usage"))
        return [self._chunk({"role": "assistant", "content": ""})]

    def _message_stop(self, _: Mapping[str, Any]) -> list[Json]:
        self.done = True
        if not self._is_counted:
            return []
        return [{**self._frame, "choices": [], "usage": chat_usage(self._usage)}]

    def _chunk(self, delta: Json, finish: str | None = None, **more: Any) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, **more}
        return {**self._frame, "choices": [choice]}

    def _count(self, usage: object) -> None:
        """Counts are cumulative: later ones replace earlier ones."""
        if isinstance(usage, dict):
            self._usage.update({key: n for key, n in usage.items() if n is not None})

    def _start(self, event: Mapping[str, Any]) -> list[Json]:
        block = dict(event.get("content_block") or {})
        self._blocks[event.get("index", 0)] = block
        match block.get("type"):
            case "text" if block.get("text"):
                return [self._chunk({"content": block["text"]})]
            case "thinking" if block.get("thinking"):
                return [self._chunk({"reasoning_content": block["thinking"]})]
            case "redacted_thinking":
                return [self._chunk({"thinking_blocks": [block]})]
            case "tool_use":
                block["call"], self._calls = self._calls, self._calls + 1
                function = {"name": block.get("name") or "", "arguments": ""}
                call = {"id": block.get("id") or "", "type": "function", "function": function}
                return [self._chunk({"tool_calls": [{"index": block["call"], **call}]})]
            case _:
                return []

    def _delta(self, event: Mapping[str, Any]) -> list[Json]:
        block = self._blocks.get(event.get("index", 0), {})
        delta = event.get("delta") or {}
        match delta.get("type"):
            case "text_delta":
                return [self._chunk({"content": delta.get("text") or ""})]
            case "thinking_delta":
                thought = delta.get("thinking") or ""
                block["thinking"] = (block.get("thinking") or "") + thought
                return [self._chunk({"reasoning_content": thought})]
            case "signature_delta":
                block["signature"] = (block.get("signature") or "") + (delta.get("signature") or "")
                return []
            case "input_json_delta" if "call" in block and delta.get("partial_json"):
                block["written"] = True
                return [self._arguments(block, delta["partial_json"])]
            case _:
                return []

    def _arguments(self, block: Json, text: str) -> Json:
        call = {"index": block["call"], "function": {"arguments": text}}
        return self._chunk({"tool_calls": [call]})

    def _stop(self, event: Mapping[str, Any]) -> list[Json]:
        block = self._blocks.pop(event.get("index", 0), {})
        if "call" in block and "written" not in block:
            return [self._arguments(block, compact(block.get("input") or {}))]
        if block.get("type") == "thinking" and block.get("signature"):
            return [self._chunk({"thinking_blocks": [block]})]
        return []

    def _message_delta(self, event: Mapping[str, Any]) -> list[Json]:
        self._count(event.get("usage"))
        self._is_counted = self._is_counted or isinstance(event.get("usage"), dict)
        delta = event.get("delta") or {}
        if delta.get("stop_reason") is None:
            return []
        refusal = refusal_of(delta)
        stopped_by = delta.get("stop_sequence")
        return [
            self._chunk(
                {} if refusal is None else {"refusal": refusal},
                finish_reason(delta["stop_reason"]),
                **({} if stopped_by is None else {"stop_reason": stopped_by}),
            )
        ]


def _upstream_error(event: Mapping[str, Any]) -> UpstreamError:
    error = chat_error(event)["error"]
    return UpstreamError(
        error["message"], status=status_of(event), code=error["code"], error_type=error["type"]
    )


@dataclass(slots=True)
class _Block:
    """One content block. Its deltas wait in `waiting` until the blocks before it have ended."""

    start: Json
    waiting: list[Json] = field(default_factory=list)
    arguments: str = ""
    started: bool = False

    @property
    def kind(self) -> str:
        kind: str = self.start["type"]
        return kind

    def may_end(self) -> bool:
        """Whether nothing can follow: a tool call whose arguments are whole JSON, or any other."""
        if self.kind != "tool_use":
            return True
        try:
            orjson.loads(self.arguments)
        except orjson.JSONDecodeError:
            return False
        return True


class EventsFromChunks:
    """`chat.completion.chunk` objects in, Anthropic's events out, one content block at a time.

    Where an upstream mixes the arguments of parallel calls, the first call streams and the others
    wait until it is whole. `finish` gives the events of the end, usage among them; `usage` is what
    the chunks have told so far, in chat's words.
    """

    def __init__(self) -> None:
        self._begun = False
        self._open: deque[_Block] = deque()
        self._index = 0
        self._calls: dict[int, _Block] = {}
        self.usage: Json = {}
        self._finish: object = None
        self._stopped_by: object = None
        self._refusal = ""
        self._confidence: Json = {}

    def push(self, chunk: Mapping[str, Any]) -> list[Json]:
        """The events that this chunk makes."""
        events = [] if self._begun else [self._message_start(chunk)]
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        self._confidence = confidence_in(chunk) or self._confidence
        for choice in chunk.get("choices") or []:
            if choice.get("index", 0) == 0:
                self._read(choice)
        events += self._ready()
        return events

    def finish(self) -> list[Json]:
        """The events after the last chunk; none where there was no chunk at all."""
        if not self._begun:
            return []
        events = [*self._ready(ending=True)]
        stop = stop_reason(self._finish, stopped_by=self._stopped_by, has_calls=bool(self._calls))
        delta = {
            "stop_reason": stop,
            "stop_sequence": self._stopped_by if stop == "stop_sequence" else None,
            **stop_details(self._refusal or None, stop),
        }
        usage = messages_usage(self.usage)
        return [
            *events,
            {"type": "message_delta", "delta": delta, "usage": usage, **self._confidence},
            {"type": "message_stop"},
        ]

    def _message_start(self, chunk: Mapping[str, Any]) -> Json:
        self._begun = True
        message: Json = {
            "id": name_in(chunk, "id"),
            "type": "message",
            "role": "assistant",
            "model": name_in(chunk, "model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return {"type": "message_start", "message": message}

    def _read(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta") or {}
        if thought := reasoning_in(delta):
            block = self._last("thinking", {"thinking": "", "signature": ""})
            block.waiting.append({"type": "thinking_delta", "thinking": thought})
        for signed in delta.get("thinking_blocks") or []:
            self._read_signed(signed)
        refusal = "".join(texts_of(delta.get("refusal")))
        self._refusal += refusal
        if text := "".join(texts_of(delta.get("content"))) or refusal:
            block = self._last("text", {"text": "", "citations": None})
            block.waiting.append({"type": "text_delta", "text": text})
        for call in delta.get("tool_calls") or []:
            self._read_call(call)
        self._finish = choice.get("finish_reason") or self._finish
        self._stopped_by = choice.get("stop_reason") or self._stopped_by

    def _last(self, kind: str, empty: Json) -> _Block:
        """The block at the end if it is of this kind, else a new one there."""
        if not self._open or self._open[-1].kind != kind:
            self._open.append(_Block({"type": kind, **empty}))
        return self._open[-1]

    def _read_signed(self, signed: Json) -> None:
        """A whole block of thinking, whose text has come as reasoning before it."""
        if signed.get("type") == "redacted_thinking":
            self._open.append(_Block(signed))
            return
        if not self._open or self._open[-1].kind != "thinking":
            self._open.append(_Block({"type": "thinking", "thinking": "", "signature": ""}))
            if thought := signed.get("thinking"):
                self._open[-1].waiting.append({"type": "thinking_delta", "thinking": thought})
        delta = {"type": "signature_delta", "signature": signed.get("signature") or ""}
        self._open[-1].waiting.append(delta)

    def _read_call(self, call: Mapping[str, Any]) -> None:
        """Some upstreams give every call the index 0 and tell them apart by their ids."""
        index, identifier = call.get("index") or 0, call.get("id")
        function = call.get("function") or {}
        block = self._calls.get(index)
        if block is None or (identifier and identifier != block.start["id"]):
            named = {"id": identifier or "", "name": function.get("name") or ""}
            block = self._calls[index] = _Block({"type": "tool_use", **named, "input": {}})
            self._open.append(block)
        if text := function.get("arguments"):
            block.arguments += text
            block.waiting.append({"type": "input_json_delta", "partial_json": text})

    def _ready(self, *, ending: bool = False) -> Iterator[Json]:
        """The events of the first open block, and of those after it as soon as it may end."""
        while self._open:
            block = self._open[0]
            if not block.started:
                block.started = True
                yield {**self._at("content_block_start"), "content_block": block.start}
            for delta in block.waiting:
                yield {**self._at("content_block_delta"), "delta": delta}
            block.waiting.clear()
            if not ending and (len(self._open) == 1 or not block.may_end()):
                return
            yield self._at("content_block_stop")
            self._open.popleft()
            self._index += 1

    def _at(self, kind: str) -> Json:
        return {"type": kind, "index": self._index}


def framed(event: Mapping[str, Any]) -> bytes:
    r"""An Anthropic event as sent: `event: TYPE\ndata: {…}\n\n`."""
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), orjson.dumps(event))
