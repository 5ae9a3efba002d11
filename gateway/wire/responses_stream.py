"""Chunks of a chat completion as the events of a streamed response, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.core.errors import GatewayError
from gateway.wire.confidence import confidence_in
from gateway.wire.json_objects import text_in
from gateway.wire.responses_answer import (
    annotations_of,
    call_of,
    end,
    error_of,
    is_cut,
    item_of,
    logprobs_of,
    new_response,
    reasoning_in,
    text_part,
    written_in,
)
from gateway.wire.responses_items import Json

#: Kind of a content part: the stem of its events, the field that holds its text.
_PARTS = {
    "output_text": ("response.output_text", "text"),
    "refusal": ("response.refusal", "refusal"),
    "reasoning_text": ("response.reasoning_text", "text"),
}
#: Kind of a call: the stem of its events, the field that the model writes.
_CALLS = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
}


def frame(event: Mapping[str, Any]) -> bytes:
    """One event as a server-sent event."""
    kind: str = event["type"]
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


class _Open:
    """An item that isn't done: what its last part (or its call) has so far."""

    __slots__ = ("annotations", "index", "item", "logprobs", "pieces")

    def __init__(self, item: Json, index: int) -> None:
        self.item = item
        self.index = index
        self.start_part()

    def start_part(self) -> None:
        self.pieces: list[str] = []
        self.logprobs: list[Json] = []
        self.annotations: list[Json] = []

    @property
    def place(self) -> Json:
        return {"item_id": self.item["id"], "output_index": self.index}

    @property
    def part_place(self) -> Json:
        return {**self.place, "content_index": len(self.item["content"]) - 1}


class ResponseStream:
    """`start`, then `feed` each chunk, then `finish` or `fail`; each returns the events to send.

    `response` is the response so far, and after `finish` or `fail` the whole one. A text is done
    when something else begins; calls are done at the end, since their deltas may alternate.
    """

    def __init__(self, request: Mapping[str, Any], *, response_id: str, created_at: int) -> None:
        self.response = new_response(request, response_id=response_id, created_at=created_at)
        self._sequence = 0
        self._events: list[Json] = []
        self._text: _Open | None = None
        self._calls: list[_Open] = []
        self._call_at: dict[Any, _Open] = {}
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] | None = None

    def start(self) -> list[Json]:
        """The events before any chunk."""
        self._emit("response.created", response=self._snapshot())
        self._emit("response.in_progress", response=self._snapshot())
        return self._taken()

    def feed(self, chunk: Mapping[str, Any]) -> list[Json]:
        """The events of one `chat.completion.chunk`."""
        if chunk.get("model"):
            self.response["model"] = chunk["model"]
        if chunk.get("service_tier") is not None:
            self.response["service_tier"] = chunk["service_tier"]
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        self.response |= confidence_in(chunk)
        for choice in chunk.get("choices") or []:
            if choice.get("index", 0) == 0:
                self._take(choice)
        return self._taken()

    def finish(self, completed_at: int) -> list[Json]:
        """The events after the last chunk of a stream that ended well; Unix seconds."""
        if not self.response["output"]:
            self._start_part("output_text")
        cut = is_cut(self._finish_reason)
        self._close_all("incomplete" if cut else "completed")
        end(self.response, self._finish_reason, self._usage, completed_at)
        self._emit(f"response.{self.response['status']}", response=self._snapshot())
        return self._taken()

    def fail(self, error: GatewayError) -> list[Json]:
        """The events after a stream that broke: what there was of the answer stays, incomplete."""
        self._close_all("incomplete", every=True)
        self.response["status"] = "failed"
        self.response["error"] = error_of(error)
        self._emit("response.failed", response=self._snapshot())
        return self._taken()

    def _take(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta") or {}
        reasoning = reasoning_in(delta)
        if reasoning:
            self._add_text("reasoning_text", reasoning)
        if text := text_in(delta.get("content")):
            self._add_text("output_text", text, logprobs_of(choice))
        for annotation in annotations_of(delta):
            self._annotate(annotation)
        if refusal := text_in(delta.get("refusal")):
            self._add_text("refusal", refusal)
        for call in delta.get("tool_calls") or []:
            self._add_call(call)
        self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def _add_text(self, kind: str, text: str, logprobs: list[Json] | None = None) -> None:
        opened = self._start_part(kind)
        opened.pieces.append(text)
        extra: Json = {}
        if kind == "output_text":
            opened.logprobs += logprobs or []
            extra["logprobs"] = logprobs or []
        self._emit(f"{_PARTS[kind][0]}.delta", **opened.part_place, delta=text, **extra)

    def _annotate(self, annotation: Json) -> None:
        opened = self._start_part("output_text")
        opened.annotations.append(annotation)
        self._emit(
            "response.output_text.annotation.added",
            **opened.part_place,
            annotation_index=len(opened.annotations) - 1,
            annotation=annotation,
        )

    def _start_part(self, kind: str) -> _Open:
        """The open item, its last part of this kind."""
        item_kind = "reasoning" if kind == "reasoning_text" else "message"
        opened = self._text
        if opened is not None and opened.item["type"] != item_kind:
            self._close_text("completed")
            opened = None
        if opened is None:
            fields: Json = {"summary": []} if item_kind == "reasoning" else {"role": "assistant"}
            index = len(self.response["output"])
            item = item_of(item_kind, self.response["id"], index, **fields, content=[])
            opened = self._text = self._open(item)
        content = opened.item["content"]
        if content and content[-1]["type"] == kind:
            return opened
        if content:
            self._close_part(opened)
        content.append(_part(kind, ""))
        opened.start_part()
        self._emit("response.content_part.added", **opened.part_place, part=_part(kind, ""))
        return opened

    def _add_call(self, delta: Mapping[str, Any]) -> None:
        opened = self._call_of(delta)
        if opened is None:
            self._close_text("completed")
            item = call_of(delta, self.response["id"], len(self.response["output"]))
            text = item[_CALLS[item["type"]][1]]
            item[_CALLS[item["type"]][1]] = ""
            opened = self._open(item)
            self._calls.append(opened)
            self._call_at[delta.get("index")] = opened
        else:
            inner = delta.get("function") or delta.get("custom") or {}
            opened.item["name"] = opened.item["name"] or inner.get("name") or ""
            text = written_in(inner, _CALLS[opened.item["type"]][1])
        if text:
            opened.pieces.append(text)
            stem = _CALLS[opened.item["type"]][0]
            self._emit(f"{stem}.delta", **opened.place, delta=text)

    def _call_of(self, delta: Mapping[str, Any]) -> _Open | None:
        """The call that a delta goes on with. Some upstreams give all calls the same index."""
        opened = self._call_at.get(delta.get("index"))
        if opened is None or not delta.get("id") or delta["id"] == opened.item["call_id"]:
            return opened
        return None

    def _open(self, item: Json) -> _Open:
        index = len(self.response["output"])
        self.response["output"].append(item)
        item["status"] = "in_progress"
        added = {**item, "content": []} if "content" in item else dict(item)
        self._emit("response.output_item.added", output_index=index, item=added)
        return _Open(item, index)

    def _close_all(self, last_status: str, *, every: bool = False) -> None:
        """Close what is open, in the output's order; all of it with one status if `every`."""
        last = len(self.response["output"]) - 1
        opened = [*self._calls] if self._text is None else [*self._calls, self._text]
        for one in sorted(opened, key=lambda open_: open_.index):
            status = last_status if every or one.index == last else "completed"
            if one is self._text:
                self._close_text(status)
            else:
                self._close_call(one, status)
        self._calls = []

    def _close_text(self, status: str) -> None:
        if self._text is not None:
            self._close_part(self._text)
            self._close(self._text, status)
            self._text = None

    def _close_part(self, opened: _Open) -> None:
        content, place = opened.item["content"], opened.part_place
        kind = content[-1]["type"]
        stem, field = _PARTS[kind]
        text = "".join(opened.pieces)
        extra = {"logprobs": opened.logprobs} if kind == "output_text" else {}
        content[-1] = part = _part(kind, text, **extra)
        if opened.annotations:
            part["annotations"] = opened.annotations
        self._emit(f"{stem}.done", **place, **{field: text}, **extra)
        self._emit("response.content_part.done", **place, part=part)

    def _close_call(self, opened: _Open, status: str) -> None:
        stem, field = _CALLS[opened.item["type"]]
        text = opened.item[field] = "".join(opened.pieces)
        name = {"name": opened.item["name"]} if field == "arguments" else {}
        self._emit(f"{stem}.done", **opened.place, **name, **{field: text})
        self._close(opened, status)

    def _close(self, opened: _Open, status: str) -> None:
        opened.item["status"] = status
        self._emit("response.output_item.done", output_index=opened.index, item=opened.item)

    def _snapshot(self) -> Json:
        return {**self.response, "output": list(self.response["output"])}

    def _emit(self, kind: str, **fields: Any) -> None:
        self._events.append({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1

    def _taken(self) -> list[Json]:
        events, self._events = self._events, []
        return events


def _part(kind: str, text: str, **extra: Any) -> Json:
    if kind == "output_text":
        return {**text_part(text), **extra}
    return {"type": kind, _PARTS[kind][1]: text}
