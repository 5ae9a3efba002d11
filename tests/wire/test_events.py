from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.events import objects_in

OBJECTS = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.none()))


@given(objects=OBJECTS, before=st.sampled_from([b"", b": hi\n\n", b"event: x\n", b"id: 3\n"]))
def test_every_object_comes_in_its_order(objects: list[dict[str, Any]], before: bytes) -> None:
    frames = b"".join(b"%bdata: %b\n\n" % (before, orjson.dumps(one)) for one in objects)
    assert list(objects_in(frames)) == objects


@pytest.mark.parametrize(
    "frames",
    [b"", b"\n\n", b": hi\n\n", b"event: x\n\n", b"data: [DONE]\n\n", b"data: 3\n\ndata:\n\n"],
)
def test_what_is_no_object_is_passed_over(frames: bytes) -> None:
    assert list(objects_in(frames)) == []
    assert list(objects_in(frames + b'data:{"a":1}\n\n')) == [{"a": 1}]


def test_an_object_on_several_lines() -> None:
    assert list(objects_in(b'data: {"a":\nevent: x\ndata: 1}\n\n')) == [{"a": 1}]


@given(frames=st.binary(max_size=60))
def test_any_bytes_give_objects_or_nothing(frames: bytes) -> None:
    assert all(isinstance(one, dict) for one in objects_in(b"data: " + frames))
