from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.sse import frame
from gateway.wire.anthropic_stream import framed
from gateway.wire.events import objects_in


@pytest.mark.parametrize(
    ("frames", "objects"),
    [
        (b"", []),
        (b"data: {}\n\n", [{}]),
        (b'data:{"a":1}\n\n', [{"a": 1}]),
        (b'data: {"a":\ndata: 1}\n\n', [{"a": 1}]),
        (b'event: x\nid: 1\ndata: {"a": 1}\n\ndata: {"b": 2}\n\n', [{"a": 1}, {"b": 2}]),
        (b": a comment\n\n", []),
        (b"data: [DONE]\n\n", []),
        (b"data: 5\n\ndata: null\n\ndata: []\n\n", []),
        (b"data\n\ndata:\n\nevent: ping\n\n", []),
        (b"data: \xff\n\n", []),
        (b'data: {"a": "\\n\\ndata: x"}\n\n', [{"a": "\n\ndata: x"}]),
    ],
)
def test_objects_in_frames(frames: bytes, objects: list[dict[str, Any]]) -> None:
    assert list(objects_in(frames)) == objects


OBJECTS = st.lists(st.dictionaries(st.text(max_size=5), st.text() | st.integers(0, 9)), max_size=5)


@given(OBJECTS, st.booleans())
def test_what_was_framed_is_found_again(objects: list[dict[str, Any]], indented: bool) -> None:
    option = orjson.OPT_INDENT_2 if indented else 0
    frames = b"".join(frame(orjson.dumps(one, option=option)) for one in objects)
    assert list(objects_in(frames)) == objects


@given(OBJECTS)
def test_anthropics_events_are_found_again(objects: list[dict[str, Any]]) -> None:
    events = [{**one, "type": "content_block_delta"} for one in objects]
    assert list(objects_in(b"".join(map(framed, events)))) == events


@given(st.binary(max_size=200))
def test_any_bytes_hold_objects_or_none(frames: bytes) -> None:
    assert all(isinstance(one, dict) for one in objects_in(frames))
