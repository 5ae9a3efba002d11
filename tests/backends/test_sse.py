from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.sse import MAX_EVENT_BYTES, EventSplitter, EventTooLong, event_data, frame

EVENTS = [b'{"a": 1}', "naïve 東京 🗼".encode(), b"[DONE]"]


def read(stream: bytes, cuts: list[int]) -> list[bytes]:
    splitter = EventSplitter()
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    blocks = [splitter.push(stream[start:end]) for start, end in pairwise(edges)]
    return [data for block in [*blocks, splitter.flush()] for data in event_data(block)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@given(cuts=st.lists(st.integers(0, 400), max_size=30))
def test_events_survive_any_cut_and_line_end(line_end: bytes, cuts: list[int]) -> None:
    stream = b"\xef\xbb\xbf" + b"".join(
        b": comment" + line_end + b"event: x" + line_end + b"data: " + data + line_end * 2
        for data in EVENTS
    )
    assert read(stream, cuts) == EVENTS


def test_every_byte_alone() -> None:
    stream = b"".join(frame(data) for data in EVENTS)
    assert read(stream, list(range(len(stream)))) == EVENTS


def test_data_without_a_space_and_over_several_lines() -> None:
    assert read(b"data:one\ndata: two\ndata:\n\n", []) == [b"one\ntwo\n"]


@pytest.mark.parametrize("last", [b'{"a": 1}', b"[DONE]", b"[DONE] "])
def test_an_end_without_a_blank_line(last: bytes) -> None:
    assert read(b"event: x\ndata: " + last, []) == [last]


@pytest.mark.parametrize(
    "half", [b"data: {", b'data: {"a": "b', b"data: [DON", b"event: x", b"data:", b": x"]
)
def test_half_an_event_is_none(half: bytes) -> None:
    splitter = EventSplitter()
    assert splitter.push(b"data: 1\n\n" + half) == b"data: 1\n\n"
    assert splitter.flush() == b""


def test_whole_blocks_pass_untouched() -> None:
    block = b"data: 1\n\ndata: 2\n\n"
    splitter = EventSplitter()
    assert splitter.push(block + b"data: 3") == block
    assert splitter.push(b"\n\n") == b"data: 3\n\n"


def test_frames_are_read_back() -> None:
    assert list(event_data(frame(b"a\nb"))) == [b"a\nb"]


def test_an_endless_event_is_refused() -> None:
    splitter = EventSplitter()
    with pytest.raises(EventTooLong):
        for _ in range(MAX_EVENT_BYTES // 2**20 + 2):
            splitter.push(b"x" * 2**20)
