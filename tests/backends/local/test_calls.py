"""Calls in a text that comes in pieces, however it is cut."""

import json
import random

import pytest

from gateway.backends.local.calls import CallReader, Said, tool_calls_of

ONE = '<tool_call>\n{"name": "f", "arguments": {"a": "}]\\" {", "b": [1, {"c": 2}]}}\n</tool_call>'
TWO = '<tool_call>\n{"name": "g \\u00e9", "arguments": {}}\n</tool_call>'
CALLS = [("f", {"a": '}]" {', "b": [1, {"c": 2}]}), ("g é", {})]


def read(text: str, cuts: list[int]) -> tuple[str, list[tuple[str, object]]]:
    reader = CallReader()
    said: list[Said] = []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        said += reader.push(text[start:end])
    said += reader.flush()
    calls = tool_calls_of(said)
    told = [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in calls]
    assert reader.calls == len(calls)
    return "".join(part.text for part in said), told


@pytest.mark.parametrize(
    ("text", "shown", "calls"),
    [
        ("Just a text. ", "Just a text. ", []),
        (ONE, "", CALLS[:1]),
        (f"{ONE}\n{TWO}", "", CALLS),
        (f"Let me look.\n\n{ONE}\n", "Let me look.", CALLS[:1]),
        ("a < b <tool> <tool_cal", "a < b <tool> <tool_cal", []),
        ("I say <tool_call> a lot", "I say <tool_call> a lot", []),
        (f"I say <tool_call>, that is {ONE}", "I say <tool_call>, that is", CALLS[:1]),
        (ONE[:25], "", []),
        (f"Let me see. {ONE[:12]}", "Let me see.", []),
        ("", "", []),
        ("  \n x", "  \n x", []),
    ],
)
def test_calls_and_text_are_told_apart(
    text: str, shown: str, calls: list[tuple[str, object]]
) -> None:
    assert read(text, []) == (shown, calls)
    assert read(text, list(range(1, len(text)))) == (shown, calls)
    dice = random.Random(3)
    for _ in range(50):
        cuts = sorted(dice.sample(range(len(text) + 1), min(len(text), 3)))
        assert read(text, cuts) == (shown, calls)


def test_arguments_are_told_as_they_come() -> None:
    reader = CallReader()
    assert [s.name for s in reader.push('<tool_call>\n{"name": "f", "arguments": ')] == ["f"]
    assert [s.arguments for s in reader.push('{"a": ')] == ['{"a": ']
    assert [s.arguments for s in reader.push('"x"}}\n</tool')] == ['"x"}']
    assert not list(reader.push("_call>"))
    assert not list(reader.flush())
