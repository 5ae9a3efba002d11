"""Calls in a text that comes in pieces, however it is cut."""

import json
import random

import pytest

from gateway.backends.local.calls import CallReader, Said, tool_calls_of
from gateway.backends.local.dialect import HERMES, LLAMA, MISTRAL, Dialect

ONE = '<tool_call>\n{"name": "f", "arguments": {"a": "}]\\" {", "b": [1, {"c": 2}]}}\n</tool_call>'
TWO = '<tool_call>\n{"name": "g \\u00e9", "arguments": {}}\n</tool_call>'
CALLS = [("f", {"a": '}]" {', "b": [1, {"c": 2}]}), ("g é", {})]


def read(
    text: str, cuts: list[int], dialect: Dialect = HERMES
) -> tuple[str, list[tuple[str, object]]]:
    reader = CallReader(dialect)
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


LISTED = '{"name": "f", "arguments": {"a": "}]\\" {", "b": [1, {"c": 2}]}}'
PARIS = ("get_current_weather", {"location": "Paris, France", "format": "celsius"})
WEATHER = '{"location": "Paris, France", "format": "celsius"}'


@pytest.mark.parametrize(
    ("dialect", "text", "shown", "calls"),
    [
        (
            MISTRAL,
            f'[TOOL_CALLS] [{{"name": "get_current_weather", "arguments": {WEATHER}}}]',
            "",
            [PARIS],
        ),
        (
            MISTRAL,
            f'[TOOL_CALLS][{LISTED}, {{"name": "g \\u00e9", "arguments": {{}}}}]',
            "",
            CALLS,
        ),
        (MISTRAL, f"Let me look.[TOOL_CALLS] [{LISTED}]", "Let me look.", CALLS[:1]),
        (MISTRAL, "I say [TOOL_CAL", "I say [TOOL_CAL", []),
        (MISTRAL, '[TOOL_CALLS] [{"name": "f', "", []),
        (LLAMA, f'{{"name": "get_current_weather", "parameters": {WEATHER}}}', "", [PARIS]),
        (LLAMA, 'Like {"name": "f", "parameters": {}}', 'Like {"name": "f", "parameters": {}}', []),
        (LLAMA, '{"name": "Ann", "age": 5}', '{"name": "Ann", "age": 5}', []),
        (LLAMA, '{"nothing": 1}', '{"nothing": 1}', []),
        (LLAMA, "  Hello", "  Hello", []),
        (LLAMA, '{"name": "f", "par', "", []),
    ],
)
def test_every_dialect_is_read(
    dialect: Dialect, text: str, shown: str, calls: list[tuple[str, object]]
) -> None:
    assert read(text, [], dialect) == (shown, calls)
    assert read(text, list(range(1, len(text))), dialect) == (shown, calls)
    for cut in range(1, len(text)):
        assert read(text, [cut], dialect) == (shown, calls)


def test_arguments_are_told_as_they_come() -> None:
    reader = CallReader()
    assert [s.name for s in reader.push('<tool_call>\n{"name": "f", "arguments": ')] == ["f"]
    assert [s.arguments for s in reader.push('{"a": ')] == ['{"a": ']
    assert [s.arguments for s in reader.push('"x"}}\n</tool')] == ['"x"}']
    assert not list(reader.push("_call>"))
    assert not list(reader.flush())
