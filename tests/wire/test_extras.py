import pytest

from gateway.wire.extras import asks, extras, message_extras, part_extras, stream_extras


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_what_is_empty_asks_for_nothing(value: object) -> None:
    assert not asks(value)


@pytest.mark.parametrize("value", [True, 0, 0.0, " ", [None], {"a": None}])
def test_anything_else_asks_for_something(value: object) -> None:
    assert asks(value)


def test_extras_are_the_members_that_nobody_reads() -> None:
    assert list(extras({"a": 1, "b": 2, "c": None}, frozenset("a"))) == ["b"]
    assert list(extras("no object", frozenset("a"))) == []


def test_places_are_named() -> None:
    part = {"type": "text", "text": "Hi", "x": 1}
    messages = [{"role": "user", "content": [part, "Ho"], "name": "Ann", "audio": None}]
    assert list(message_extras(messages, frozenset({"role", "content"}))) == ["messages[].name"]
    assert list(part_extras(messages, frozenset({"type", "text"}))) == ["messages[].content[].x"]
    assert list(part_extras([{"content": "Hi"}], frozenset())) == []
    asked = {"stream_options": {"include_usage": True, "include_obfuscation": True}}
    assert list(stream_extras(asked)) == ["stream_options.include_obfuscation"]
