import orjson
import pytest

from gateway.wire.json_objects import MOST_LEVELS, is_writable, tool_input


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ('{"a": [1.5, null]}', {"a": [1.5, None]}),
        ({"a": 1}, {"a": 1}),
        ("", {}),
        (" ", {}),
        (None, {}),
        (3, {}),
        ("[1]", {"arguments": "[1]"}),
        ('{"a": ', {"arguments": '{"a": '}),
    ],
)
def test_what_a_tool_is_given(arguments: object, given: object) -> None:
    assert tool_input(arguments) == given


@pytest.mark.parametrize("levels", [MOST_LEVELS - 8, MOST_LEVELS - 7, 1000, 100_000])
def test_what_is_too_deep_to_be_written_stays_text(levels: int) -> None:
    arguments = nested(levels)
    given = tool_input(arguments)
    assert orjson.dumps([[[[[[[[given]]]]]]]])
    assert (given == {"arguments": arguments}) is (levels > MOST_LEVELS - 8)


@pytest.mark.parametrize("spare", [0, 1, 14])
def test_writable_is_what_orjson_writes(spare: int) -> None:
    most = MOST_LEVELS - spare
    for levels in (most, most + 1):
        text = nested(levels)
        value = orjson.loads(text)
        assert is_writable(text, value, spare=spare) is (levels == most)
        assert is_writable(text.encode(), value, spare=spare) is (levels == most)
    flat = "[" + "{}," * 1000 + "{}]"
    assert is_writable(flat, orjson.loads(flat), spare=spare)
