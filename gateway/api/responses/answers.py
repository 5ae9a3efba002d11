"""Items of a backend as a `response` object or as the typed events of a streamed one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import orjson

from gateway.api.malformed import readable
from gateway.api.respond import usage_with_cost
from gateway.api.responses.asked import Asked
from gateway.core.answer import Answer, Item
from gateway.core.entry import LedgerEntry
from gateway.core.errors import GatewayError, StreamInterrupted, UpstreamUnavailable
from gateway.wire.responses_answer import response_of, usage_of
from gateway.wire.responses_stream import ResponseStream, frame

Json = dict[str, Any]


def id_of(request_id: str) -> str:
    """A response has the id of its request."""
    return f"resp_{request_id.removeprefix('req_')}"


def whole_response(asked: Asked, answer: Answer, entry: LedgerEntry) -> Json:
    """The response to a request, its usage with the cost. Raises UpstreamUnavailable."""
    with readable(UpstreamUnavailable):
        response = response_of(
            answer.payload,
            asked.body,
            response_id=id_of(entry.request_id),
            created_at=asked.created_at,
            completed_at=int(time.time()),
        )
        response["usage"] = _with_cost(response["usage"], entry)
    return response


class ResponseEvents:
    """Chunks as typed events, numbered; the last one holds the response with its cost.

    `end` is to be called before `finish`: what it gives is the response that the last event holds.
    """

    def __init__(self, asked: Asked, entry: LedgerEntry) -> None:
        self._entry = entry
        self._stream = ResponseStream(
            asked.body, response_id=id_of(entry.request_id), created_at=asked.created_at
        )
        self._begun = False
        self._last: list[Json] = []

    def frames(self, item: Item) -> bytes:
        """The events of one item. Raises StreamInterrupted where it can't be read."""
        events = [] if self._begun else self._stream.start()
        self._begun = True
        with readable(StreamInterrupted):
            for chunk in _chunks(item):
                events += self._stream.feed(chunk)
        return b"".join(map(frame, events))

    def end(self) -> Json:
        """The whole response, once the last item has come and the call's cost is known.

        Raises StreamInterrupted where its usage or its end can't be read.
        """
        with readable(StreamInterrupted):
            self._last = self._stream.finish(int(time.time()))
        response: Json = self._last[-1]["response"]
        response["usage"] = _with_cost(response["usage"], self._entry)
        return response

    def finish(self) -> bytes:
        """The events at the end of a stream that ended well."""
        return b"".join(map(frame, self._last))

    def fail(self, error: GatewayError) -> bytes:
        """The events at the end of a stream that broke; such a response isn't kept."""
        self._stream.response["store"] = False
        events = [] if self._begun else self._stream.start()
        return b"".join(map(frame, events + self._stream.fail(error)))


def _with_cost(usage: Json | None, entry: LedgerEntry) -> Json:
    """The reported usage, or ours where there is none, with `cost` and `cost_details`."""
    ours = usage_with_cost(None, entry)
    known = usage or usage_of(ours) or {}
    return {**known, "cost": ours["cost"], "cost_details": ours["cost_details"]}


def _chunks(item: Item) -> Iterator[Json]:
    if isinstance(item, Answer):  # a backend that can't stream answers in one piece
        choices = item.payload.get("choices") or []
        yield {**item.payload, "choices": [{**one, "delta": one["message"]} for one in choices]}
    elif item.payload is not None:
        yield dict(item.payload)
    else:
        for event in item.frames.split(b"\n\n"):
            lines = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
            if lines:
                yield orjson.loads(b"\n".join(lines))
