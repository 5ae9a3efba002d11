"""Streams read in blocks say the same as each event read alone, wherever the bytes are cut."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backends.openai import OpenAIBackend, _StreamReader
from gateway.backends.sse import event_data, first_noteworthy, is_finished
from gateway.core.errors import BackendError

BACKEND = OpenAIBackend(base_url="http://127.0.0.1/v1", api_key=None)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

TEXT = st.text(max_size=12) | st.sampled_from(
    ['"usage":{', "[DONE]", '"error"', "\n\ndata: x", '"finish_reason":"', "data:", "usage"]
)
EVENTS = st.lists(
    st.builds(
        lambda text, usage, reason: {
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}],
            **usage,
        },
        TEXT,
        st.sampled_from([{}, {"usage": None}, {"usage": USAGE}]),
        st.sampled_from([None, None, None, "stop"]),
    ),
    min_size=1,
    max_size=8,
)
LINES = st.sampled_from([b"data: %b\n\n", b"data:%b\r\n\r\n", b": hi\n\ndata: %b\n\n"])


def dumped(event: dict[str, Any], *, spaced: bool) -> bytes:
    data = orjson.dumps(event)
    return data.replace(b'":', b'": ') if spaced else data


@settings(max_examples=300, deadline=None)
@given(
    events=EVENTS,
    line=LINES,
    spaced=st.booleans(),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
)
def test_blocks_and_single_events_agree(
    events: list[dict[str, Any]], line: bytes, spaced: bool, cuts: list[int]
) -> None:
    datas = [dumped(event, spaced=spaced) for event in events]
    stream = b"".join(line % data for data in datas) + line % b"[DONE]"
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    reader = _StreamReader(BACKEND)
    chunks = [chunk for a, b in pairwise(edges) for chunk in reader.push(stream[a:b])]
    assert reader.done
    passed = [orjson.loads(data) for chunk in chunks for data in event_data(chunk.frames)]
    assert passed == [orjson.loads(data) for data in datas]
    reported = [chunk.payload for chunk in chunks if chunk.usage is not None]
    assert reported == [one for one in passed if isinstance(one.get("usage"), dict)]
    assert reader.finished == any(event["choices"][0]["finish_reason"] for event in events)


@settings(max_examples=300, deadline=None)
@given(stream=st.binary(max_size=300), cut=st.integers(0, 300))
def test_any_bytes_give_chunks_or_a_clear_failure(stream: bytes, cut: int) -> None:
    reader = _StreamReader(BACKEND)
    try:
        for part in (b"data: ", stream[:cut], stream[cut:]):
            list(reader.push(part))
        list(reader.flush())
    except BackendError as error:
        assert error.message


@pytest.mark.parametrize(
    ("block", "start"),
    [
        (b'data: {"a":1}\n\n', 15),
        (b'data: {"usage":null}\n\ndata: {"usage":{}}\n\n', 22),
        (b'data: {"usage": {"x": 1}}\n\n', 0),
        (b"data: 1\n\n: comment\n\n", 9),
        (b"data: 1\n\ndata: [DONE]\n\n", 9),
    ],
)
def test_where_reading_begins(block: bytes, start: int) -> None:
    assert first_noteworthy(block) == start


def test_an_answer_is_finished_by_a_reason() -> None:
    assert not is_finished(b'data: {"finish_reason":null}\n\n')
    assert not is_finished(b'data: {"finish_reason": null}\n\n')
    assert is_finished(b'data: {"finish_reason": "stop"}\n\n')
