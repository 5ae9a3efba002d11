import orjson
import pytest

from gateway.wire.json_objects import tool_input


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


@pytest.mark.parametrize("levels", [200, 246, 247, 1000, 100_000])
def test_what_is_too_deep_to_be_written_stays_text(levels: int) -> None:
    arguments = nested(levels)
    given = tool_input(arguments)
    assert orjson.dumps([[[[[[[[given]]]]]]]])
    assert (given == {"arguments": arguments}) is (levels > 246)


def test_many_objects_are_not_deep() -> None:
    arguments = '{"a":[' + "{}," * 1000 + "{}]}"
    assert tool_input(arguments) == orjson.loads(arguments)
