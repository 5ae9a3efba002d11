"""Anthropic's events, cut anywhere: the same chunks; and what is no event is a clear failure."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from gateway.backends.anthropic import AnthropicBackend
from gateway.backends.anthropic_stream import NativeReader, Reader, TranslatingReader
from gateway.backends.sse import event_data
from gateway.core.answer import Chunk
from gateway.core.errors import BackendError, UpstreamError
from gateway.core.usage import Usage

REFUSAL_IN = AnthropicBackend(base_url="http://127.0.0.1/v1", api_key=None).refusal_in
READERS: list[Callable[[Any], Reader]] = [NativeReader, TranslatingReader]
Json = dict[str, Any]

MESSAGE: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-9"}
OPENING_USAGE = {"input_tokens": 7, "cache_read_input_tokens": 4, "output_tokens": 1}
TEXT = st.text(max_size=8) | st.sampled_from(
    ["\n\ndata: x", "event: error", '"usage":{', "message_stop", "\r\n"]
)


def opening(usage: object = OPENING_USAGE) -> Json:
    return {"type": "message_start", "message": {**MESSAGE, "content": [], "usage": usage}}


def said(*pieces: str) -> list[Json]:
    deltas = ({"type": "text_delta", "text": piece} for piece in pieces)
    return [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
    ]


def ending(usage: object = {"output_tokens": 9}) -> list[Json]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]


def written(events: list[Json], form: bytes, *, spaced: bool = False) -> bytes:
    stream = b""
    for event in events:
        separators = None if spaced else (",", ":")
        data = json.dumps(event, ensure_ascii=False, separators=separators).encode()
        stream += form.replace(b"NAME", event["type"].encode()).replace(b"DATA", data)
    return stream


FORMS = [
    b"event: NAME\ndata: DATA\n\n",
    b"event:NAME\r\ndata:DATA\r\n\r\n",
    b": hi\n\nevent: NAME\nid: 3\ndata: DATA\n\n\n",
    b"data: DATA\nevent: NAME\n\n",
    b"data: DATA\n\n",
]
STREAMS = st.builds(
    lambda pieces, pings, usage, last: [
        opening(usage),
        *[{"type": "ping"}] * pings,
        *said(*pieces),
        {"type": "new_event", "x": 1.5},
        *ending(last),
    ],
    st.lists(TEXT, max_size=5),
    st.integers(0, 2),
    st.sampled_from([OPENING_USAGE, None]),
    st.sampled_from([{"output_tokens": 9}, {"output_tokens": 9, "input_tokens": None}, None]),
)


def read(reader: Reader, stream: bytes, cuts: list[int] = []) -> list[Chunk]:  # noqa: B006
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    chunks = [chunk for a, b in pairwise(edges) for chunk in reader.push(stream[a:b])]
    return [*chunks, *reader.flush()]


@settings(max_examples=200, deadline=None)
@given(
    events=STREAMS,
    form=st.sampled_from(FORMS),
    spaced=st.booleans(),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    trimmed=st.booleans(),
)
def test_a_native_stream_is_the_same_wherever_it_is_cut(
    events: list[Json], form: bytes, spaced: bool, cuts: list[int], trimmed: bool
) -> None:
    stream = written(events, form, spaced=spaced)
    reader = NativeReader(REFUSAL_IN)
    chunks = read(reader, stream.rstrip(b"\r\n") if trimmed else stream, cuts)
    assert reader.done
    assert reader.begun
    assert all(chunk.wire == "messages" for chunk in chunks)
    frames = b"".join(chunk.frames for chunk in chunks)
    lines = [line for line in stream.replace(b"\r\n", b"\n").split(b"\n") if line]
    assert [line for line in frames.split(b"\n") if line] == lines  # not a byte is another
    assert [orjson.loads(data) for data in event_data(frames)] == events
    uncut = read(NativeReader(REFUSAL_IN), stream)
    assert counts(chunks) == counts(uncut) == expected(events)
    for chunk in chunks:
        if chunk.usage is not None:
            assert [orjson.loads(data) for data in event_data(chunk.frames)] == [chunk.payload]


@settings(max_examples=200, deadline=None)
@given(
    events=STREAMS,
    form=st.sampled_from(FORMS),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
)
def test_a_translated_stream_is_the_same_wherever_it_is_cut(
    events: list[Json], form: bytes, cuts: list[int]
) -> None:
    stream = written(events, form)
    reader = TranslatingReader(REFUSAL_IN)
    chunks = read(reader, stream, cuts)
    assert reader.done
    assert reader.begun
    payloads = [orjson.loads(data) for chunk in chunks for data in event_data(chunk.frames)]
    parsed = [ChatCompletionChunk.model_validate(payload) for payload in payloads]
    text = "".join(choice.delta.content or "" for one in parsed for choice in one.choices)
    assert text == "".join(
        event["delta"]["text"] for event in events if event["type"] == "content_block_delta"
    )
    assert {chunk.model_served for chunk in chunks} == {"claude-9"}
    assert counts(chunks) == counts(read(TranslatingReader(REFUSAL_IN), stream))
    assert counts(chunks)[:1] == expected(events)[:1]
    assert counts(chunks)[-1:] == expected(events)[-1:]


def counts(chunks: list[Chunk]) -> list[Usage]:
    return [chunk.usage for chunk in chunks if chunk.usage is not None]


def expected(events: list[Json]) -> list[Usage]:
    """The opening's count as a guess, then the whole."""
    opened, closed = events[0]["message"]["usage"], events[-2]["usage"]
    prompt = Usage(11, 1, cached_tokens=4) if opened else Usage(0, 0)
    guessed = [replace(prompt, source="estimated")] if opened else []
    return [*guessed, *([replace(prompt, completion_tokens=9)] if closed else [])]


GOOD = written([opening(), *said("Paris")], FORMS[0])


@pytest.mark.parametrize("reader_of", READERS)
@pytest.mark.parametrize(
    "data",
    [
        b"oops",
        b"[]",
        b"3",
        b"null",
        b'{"type": "message_delta", "usage": 1e999}',
        b'{"type": "message_delta", "x": "\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_an_event_that_is_none_ends_the_stream(
    reader_of: Callable[[Any], Reader], data: bytes
) -> None:
    reader = reader_of(REFUSAL_IN)
    begun: list[Chunk] = []
    with pytest.raises(BackendError, match="The upstream sent"):
        for chunk in reader.push(GOOD + b"event: message_delta\ndata: %b\n\n" % data):
            begun.append(chunk)  # noqa: PERF402 (what came before the failure counts)
    assert reader.begun
    assert not reader.done


@pytest.mark.parametrize("reader_of", READERS)
def test_an_error_is_raised_in_the_upstreams_words(reader_of: Callable[[Any], Reader]) -> None:
    reader = reader_of(REFUSAL_IN)
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}}
    passed: list[Chunk] = []
    with pytest.raises(UpstreamError, match=r"Busy\.") as raised:
        for chunk in reader.push(GOOD + written([error], FORMS[0])):
            passed.append(chunk)  # noqa: PERF402
    assert raised.value.status == 529
    assert b"Paris" in b"".join(chunk.frames for chunk in passed)


@pytest.mark.parametrize("reader_of", READERS)
@pytest.mark.parametrize("model", [None, 3, {"a": 1}, "", []])
def test_a_models_name_is_a_text_or_none(reader_of: Callable[[Any], Reader], model: object) -> None:
    start = {"type": "message_start", "message": {**MESSAGE, "model": model}}
    chunks = read(reader_of(REFUSAL_IN), written([start, *said("x"), *ending()], FORMS[0]))
    assert {chunk.model_served for chunk in chunks} == {None}


KINDS = [event["type"] for event in [opening(), *said("x"), *ending()]]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "text", "usage", "model", "output_tokens", "index", "input"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)
ODD_EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from([*KINDS, "error", "ping"]) | ANYTHING},
    optional=dict.fromkeys(
        ("message", "index", "content_block", "delta", "usage", "error"), ANYTHING
    ),
)


@pytest.mark.parametrize("reader_of", READERS)
@settings(max_examples=200, deadline=None)
@given(events=st.lists(ODD_EVENTS, max_size=5), named=st.booleans())
def test_odd_events_give_chunks_or_a_clear_failure(
    reader_of: Callable[[Any], Reader], events: list[Json], named: bool
) -> None:
    stream = b""
    for event in events:
        name = b"event: %b\n" % str(event["type"]).encode() if named else b""
        stream += b"%bdata: %b\n\n" % (name, orjson.dumps(event))
    try:
        chunks = read(reader_of(REFUSAL_IN), GOOD + stream)
    except BackendError as error:
        assert error.message
    else:
        for chunk in chunks:
            assert chunk.usage is None or chunk.usage.prompt_tokens >= 0
            assert (chunk.payload is None) <= (chunk.usage is None or chunk.wire == "chat")


@pytest.mark.parametrize("reader_of", READERS)
@settings(max_examples=200, deadline=None)
@given(stream=st.binary(max_size=200), cut=st.integers(0, 200))
def test_any_bytes_give_chunks_or_a_clear_failure(
    reader_of: Callable[[Any], Reader], stream: bytes, cut: int
) -> None:
    reader = reader_of(REFUSAL_IN)
    try:
        for part in (b"data: ", stream[:cut], stream[cut:]):
            list(reader.push(part))
        list(reader.flush())
    except BackendError as error:
        assert error.message


@pytest.mark.parametrize("reader_of", READERS)
@settings(max_examples=200, deadline=None)
@given(events=STREAMS, length=st.integers(0, 2000), cuts=st.lists(st.integers(0, 2000), max_size=4))
def test_of_a_stream_that_breaks_off_only_whole_events_go_out(
    reader_of: Callable[[Any], Reader], events: list[Json], length: int, cuts: list[int]
) -> None:
    events = events[:-1]
    stream = written(events, FORMS[0])
    part = stream[: length % (len(stream) + 1)]
    reader = reader_of(REFUSAL_IN)
    chunks = read(reader, part, cuts)
    assert not reader.done
    if isinstance(reader, NativeReader):
        frames = b"".join(chunk.frames for chunk in chunks)
        # That the blank line lacks behind the last one doesn't matter.
        assert part.startswith(frames[:-2])
        ends = [len(written(events[:count], FORMS[0])) - 2 for count in range(1, len(events) + 1)]
        whole = sum(end <= len(part) for end in ends)
        assert [orjson.loads(data) for data in event_data(frames)] == events[:whole]
