"""Anthropic's streams, cut anywhere and malformed in every way."""

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backends.anthropic import AnthropicBackend
from gateway.backends.anthropic_stream import NativeReader, Reader, TranslatingReader
from gateway.backends.sse import event_data
from gateway.core.answer import Chunk
from gateway.core.errors import BackendError, UpstreamError
from gateway.core.usage import Usage

BACKEND = AnthropicBackend(base_url="http://127.0.0.1/v1", api_key="sk-ours")
READERS = [NativeReader, TranslatingReader]
Json = dict[str, Any]

TEXTS = st.text(max_size=9) | st.sampled_from(
    ["\n\ndata: x", '"usage":{', "event: content_block_", "[DONE]", "message_stop", '"error"']
)
COUNTS = st.none() | st.integers(0, 99)
BLOCKS = st.one_of(
    st.builds(
        lambda *texts: (
            {"type": "text", "text": ""},
            [{"type": "text_delta", "text": text} for text in texts],
        ),
        TEXTS,
        TEXTS,
    ),
    st.builds(
        lambda text: (
            {"type": "thinking", "thinking": "", "signature": ""},
            [
                {"type": "thinking_delta", "thinking": text},
                {"type": "signature_delta", "signature": "c2ln"},
            ],
        ),
        TEXTS,
    ),
    st.builds(
        lambda text: (
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
            [{"type": "input_json_delta", "partial_json": orjson.dumps({"a": text}).decode()}],
        ),
        TEXTS,
    ),
)


def events_of(blocks: list[tuple[Json, list[Json]]], counts: list[int | None]) -> list[Json]:
    fresh, read, output = counts
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    opening = {"input_tokens": fresh, "cache_read_input_tokens": read, "output_tokens": 1}
    events: list[Json] = [
        {"type": "message_start", "message": {**message, "content": [], "usage": opening}},
        {"type": "ping"},
    ]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += ({"type": "content_block_delta", "index": index, "delta": d} for d in deltas)
        events.append({"type": "content_block_stop", "index": index})
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    return [*events, {**end, "usage": {"output_tokens": output}}, {"type": "message_stop"}]


def written(events: list[Json], line: str, *, spaced: bool, named: bool) -> bytes:
    stream = b""
    for event in events:
        data = json.dumps(event).encode() if spaced else orjson.dumps(event)
        name = b"event: %b\n" % event["type"].encode() if named else b""
        stream += (name + b"data: %b\n\n" % data).replace(b"\n", line.encode())
    return stream


def read(reader: Reader, stream: bytes, cuts: list[int]) -> list[Chunk]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    chunks = [chunk for a, b in pairwise(edges) for chunk in reader.push(stream[a:b])]
    return [*chunks, *reader.flush()]


def told(chunks: list[Chunk]) -> list[Any]:
    objects = [orjson.loads(data) for chunk in chunks for data in event_data(chunk.frames)]
    return [{**one, "created": 0} if "created" in one else one for one in objects]


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=150, deadline=None)
@given(
    blocks=st.lists(BLOCKS, max_size=3),
    counts=st.lists(COUNTS, min_size=3, max_size=3),
    line=st.sampled_from(["\n", "\r\n", "\r"]),
    spaced=st.booleans(),
    named=st.booleans(),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
)
def test_a_stream_says_the_same_wherever_it_is_cut(
    kind: type[NativeReader | TranslatingReader],
    blocks: list[tuple[Json, list[Json]]],
    counts: list[int | None],
    line: str,
    spaced: bool,
    named: bool,
    cuts: list[int],
) -> None:
    events = events_of(blocks, counts)
    stream = written(events, line, spaced=spaced, named=named)
    whole, cut = kind(BACKEND.refusal_in), kind(BACKEND.refusal_in)
    chunks, others = read(whole, stream, []), read(cut, stream, cuts)
    assert whole.done
    assert cut.done
    assert told(others) == told(chunks)
    if kind is NativeReader:
        assert told(chunks) == events
        assert {chunk.wire for chunk in chunks} == {"messages"}
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert [chunk.usage for chunk in others if chunk.usage is not None] == usages
    fresh, from_cache, output = (count or 0 for count in counts)
    output = 1 if counts[2] is None else output
    assert usages[-1] == Usage(fresh + from_cache, output, from_cache)
    assert usages[0].source == "estimated"
    assert usages[0].prompt_tokens == fresh + from_cache
    served = {chunk.model_served for chunk in chunks}
    assert served == {"claude-x"}


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=150, deadline=None)
@given(
    blocks=st.lists(BLOCKS, max_size=2),
    length=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=4),
)
def test_a_stream_that_stops_early_is_not_done(
    kind: type[NativeReader | TranslatingReader],
    blocks: list[tuple[Json, list[Json]]],
    length: int,
    cuts: list[int],
) -> None:
    events = events_of(blocks, [7, 4, 9])
    stream = written(events[:-1], "\n", spaced=False, named=True)
    part = stream[: length % (len(stream) + 1)]
    reader = kind(BACKEND.refusal_in)
    chunks = read(reader, part, cuts)
    assert not reader.done
    if kind is NativeReader:
        # That the blank line lacks behind the last one doesn't matter.
        ends = [
            len(written(events[:k], "\n", spaced=False, named=True)) - 2 for k in range(len(events))
        ]
        assert told(chunks) == events[: sum(0 < end <= len(part) for end in ends)]
        assert part.startswith(b"".join(chunk.frames for chunk in chunks)[:-2])


SCALARS = st.none() | st.booleans() | st.integers(-5, 2**63) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
TYPES = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
    "newest",
]
KEYS = (
    "message index content_block delta usage error model id type text thinking signature "
    "partial_json stop_reason stop_sequence stop_details input_tokens output_tokens cache_creation "
    "output_tokens_details name input data"
)
INNER = st.dictionaries(st.sampled_from(KEYS.split(" ")), VALUES, max_size=4)
BLOCK_KINDS = ["text", "thinking", "redacted_thinking", "tool_use"]
KINDS = st.sampled_from(
    [*BLOCK_KINDS, "text_delta", "thinking_delta", "signature_delta", "input_json_delta"]
)
MEMBERS = INNER | st.builds(lambda inner, kind: {**inner, "type": kind}, INNER, KINDS)
MALFORMED = st.builds(
    lambda kind, members, usage: {"type": kind, **members, **usage},
    st.sampled_from(TYPES) | VALUES,
    st.dictionaries(
        st.sampled_from(["message", "index", "content_block", "delta", "error"]), MEMBERS | VALUES
    ),
    st.just({}) | st.builds(lambda usage: {"usage": usage}, INNER | VALUES),
)


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=400, deadline=None)
@given(events=st.lists(MALFORMED | VALUES, min_size=1, max_size=5), named=st.booleans())
def test_a_malformed_event_is_read_or_the_upstreams_fault(
    kind: type[NativeReader | TranslatingReader], events: list[Any], named: bool
) -> None:
    reader = kind(BACKEND.refusal_in)
    try:
        for event in events:
            name = b"event: message_delta\n" if named else b""
            for chunk in reader.push(name + b"data: %b\n\n" % orjson.dumps(event)):
                assert chunk.model_served is None or isinstance(chunk.model_served, str)
                assert chunk.usage is None or chunk.usage.prompt_tokens >= 0
    except BackendError as error:
        assert error.message


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=200, deadline=None)
@given(stream=st.binary(max_size=200), cut=st.integers(0, 200))
def test_any_bytes_give_chunks_or_a_clear_failure(
    kind: type[NativeReader | TranslatingReader], stream: bytes, cut: int
) -> None:
    reader = kind(BACKEND.refusal_in)
    try:
        for part in (b"data: ", stream[:cut], stream[cut:]):
            list(reader.push(part))
        list(reader.flush())
    except BackendError as error:
        assert error.message


ERROR = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Busy"}}\n\n'
)


@pytest.mark.parametrize("kind", READERS)
def test_what_came_before_an_error_in_the_same_bytes_still_goes_out(
    kind: type[NativeReader | TranslatingReader],
) -> None:
    events = events_of(
        [({"type": "text", "text": ""}, [{"type": "text_delta", "text": "x"}])], [1, 2, 3]
    )
    stream = written(events[:4], "\n", spaced=False, named=True) + ERROR
    reader = kind(BACKEND.refusal_in)
    chunks: list[Chunk] = []
    with pytest.raises(UpstreamError, match="Busy") as caught:
        chunks.extend(iter(reader.push(stream)))
    assert (caught.value.status, caught.value.code) == (529, "overloaded")
    assert reader.begun
    assert '"x"' in str(told(chunks)).replace("'", '"')


@pytest.mark.parametrize("kind", READERS)
def test_an_error_never_repeats_our_key(kind: type[NativeReader | TranslatingReader]) -> None:
    event = ERROR.replace(b"Busy", b"bad sk-ours")
    with pytest.raises(UpstreamError) as caught:
        list(kind(BACKEND.refusal_in).push(event))
    assert caught.value.message == "bad [key]"


@pytest.mark.parametrize("error", [b"5", b"[]", b'"x"', b"{}", b"null", b'{"type": 5}'])
@pytest.mark.parametrize("kind", READERS)
def test_an_error_that_says_nothing(
    kind: type[NativeReader | TranslatingReader], error: bytes
) -> None:
    with pytest.raises(UpstreamError):
        list(kind(BACKEND.refusal_in).push(b'data: {"type":"error","error":%b}\n\n' % error))


def test_comments_and_empty_events_pass() -> None:
    reader = NativeReader(BACKEND.refusal_in)
    stream = b": hello\n\nevent: ping\n\ndata:\n\n"
    assert b"".join(chunk.frames for chunk in reader.push(stream)) == stream
    assert not reader.begun
