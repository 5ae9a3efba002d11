"""Answers of the real small model that are held to a form."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.forms import closed
from gateway.core.errors import InvalidRequest
from tests.backends.local.asking import answer_of, chat, chunks_of, content_of, payloads_of

SCHEMAS = 200
PARAMETERS: dict[str, dict[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "add": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"enum": [1, 2]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
}
WEATHER, ADD = (
    {"type": "function", "function": {"name": name, "parameters": parameters}}
    for name, parameters in PARAMETERS.items()
)


def schema(dice: random.Random, depth: int = 0) -> dict[str, Any]:
    """A random schema whose answers are short."""
    kinds = ["string", "integer", "boolean", "enum", "null", "number"]
    kind = dice.choice(kinds if depth > 1 else [*kinds, "object", "array", "anyOf", "object"])
    names = dice.sample(["a", "b", "name", "die Größe", "x-y"], dice.randint(1, 3))
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "string": lambda: {"type": "string", "maxLength": dice.randint(1, 6)},
        "integer": lambda: {"type": "integer", "minimum": 0, "maximum": dice.randint(1, 500)},
        "number": lambda: {"type": "number", "minimum": -1, "maximum": 1, "multipleOf": 0.5},
        "boolean": lambda: {"type": "boolean"},
        "null": lambda: {"type": "null"},
        "enum": lambda: {"enum": dice.sample(["red", 1, None, True, "grün", "a b"], 3)},
        "array": lambda: {"type": "array", "items": schema(dice, depth + 1), "maxItems": 2},
        "anyOf": lambda: {"anyOf": [schema(dice, depth + 1), schema(dice, depth + 1)]},
        "object": lambda: {
            "type": "object",
            "properties": {name: schema(dice, depth + 1) for name in names},
            "required": names[: dice.randint(0, len(names))],
            "additionalProperties": False,
        },
    }
    return made[kind]()


def held_to(wanted: dict[str, Any], **fields: Any) -> Any:
    stated = {"name": "answer", "schema": wanted}
    form = {"type": "json_schema", "json_schema": stated}
    return chat("Make something up.", response_format=form, max_tokens=120, **fields)


async def test_every_answer_is_valid_by_its_schema(small: LocalBackend) -> None:
    dice = random.Random(7)
    schemas = [schema(dice) for _ in range(SCHEMAS)]
    requests = [held_to(one, temperature=1, seed=n) for n, one in enumerate(schemas)]
    finished = 0
    for start in range(0, SCHEMAS, 40):
        batch = slice(start, start + 40)
        answers = await asyncio.gather(*(answer_of(small, one) for one in requests[batch]))
        for wanted, answer in zip(schemas[batch], answers, strict=True):
            if answer.payload["choices"][0]["finish_reason"] == "stop":
                finished += 1
                jsonschema_rs.validate(wanted, json.loads(content_of(answer)))
    assert finished >= SCHEMAS - 4  # a limit may cut a few off


async def test_an_object_of_any_kind(small: LocalBackend) -> None:
    form = {"type": "json_object"}
    request = chat("A person as JSON, in brief.", response_format=form, max_tokens=200)
    answer = await answer_of(small, request)
    if answer.payload["choices"][0]["finish_reason"] == "stop":
        assert isinstance(json.loads(content_of(answer)), dict)
    assert content_of(answer).startswith("{")


async def test_a_limit_cuts_an_object_off_and_says_so(small: LocalBackend) -> None:
    wanted = {"type": "array", "items": {"type": "integer"}, "minItems": 40}
    answer = await answer_of(
        small, chat("x", response_format=held_to(wanted).payload["response_format"])
    )
    assert answer.payload["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"type": "foo"}, "Invalid type"),
        ({"not": {"type": "string"}}, "not"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"enum": ["x" * 300_000]}, "larger than"),
    ],
)
async def test_a_schema_that_cant_be_held_to_is_refused(
    small: LocalBackend, wanted: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        await answer_of(small, held_to(wanted))
    assert refused.value.param == "response_format"


def calls_in(answer: Any) -> list[tuple[str, Any]]:
    calls = answer.payload["choices"][0]["message"].get("tool_calls", [])
    return [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in calls]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
async def test_a_forced_call_is_one(small: LocalBackend, choice: Any) -> None:
    asked = {"tools": [WEATHER, ADD], "tool_choice": choice, "max_tokens": 80}
    request = chat("What is 3 plus 2?", parallel_tool_calls=False, **asked)
    answer = await answer_of(small, request)
    (call,) = calls_in(answer)
    if choice != "required":
        assert call[0] == "add"
    jsonschema_rs.validate(PARAMETERS[call[0]], call[1])
    said = answer.payload["choices"][0]
    assert said["finish_reason"] == "tool_calls"
    assert said["message"]["content"] is None
    assert said["message"]["tool_calls"][0]["id"].startswith("call_")


async def test_a_streamed_call_is_the_same(small: LocalBackend) -> None:
    asked = {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 80}
    plain = await answer_of(small, chat("The weather in Rome?", parallel_tool_calls=False, **asked))
    chunks = payloads_of(
        await chunks_of(
            small, chat("The weather in Rome?", parallel_tool_calls=False, stream=True, **asked)
        )
    )
    deltas = [one["delta"] for chunk in chunks for one in chunk["choices"]]
    parts = [part for delta in deltas for part in delta.get("tool_calls", ())]
    assert parts[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert all("name" not in part["function"] for part in parts[1:])
    arguments = "".join(part["function"]["arguments"] for part in parts)
    assert [("get_weather", json.loads(arguments))] == calls_in(plain)
    assert not any(delta.get("content") for delta in deltas)
    assert [one["finish_reason"] for one in chunks[-2]["choices"]] == ["tool_calls"]


async def test_with_a_free_choice_no_marker_is_ever_shown(small: LocalBackend) -> None:
    questions = [
        "What is the weather in Paris?",
        "Hello!",
        "Say <tool_call> and <b>.",
        "What is 2+1?",
    ]
    for question in questions:
        request = chat(question, tools=[WEATHER, ADD], max_tokens=60)
        answer = await answer_of(small, request)
        message = answer.payload["choices"][0]["message"]
        assert message["content"] or message["tool_calls"]
        for name, arguments in calls_in(answer):
            jsonschema_rs.validate(PARAMETERS[name], arguments)


async def test_no_call_where_none_is_wanted(small: LocalBackend) -> None:
    asked = {"tools": [WEATHER], "tool_choice": "none"}
    without = await answer_of(small, chat("The weather in Rome?"))
    assert content_of(await answer_of(small, chat("The weather in Rome?", **asked))) == content_of(
        without
    )


@pytest.mark.parametrize("question", ["The weather in Rome?", "Say hello as JSON."])
async def test_with_tools_and_a_schema_the_answer_is_one_of_them(
    small: LocalBackend, question: str
) -> None:
    wanted = {"type": "object", "properties": {"word": {"enum": ["a", "b"]}}, "required": ["word"]}
    form = held_to(wanted).payload["response_format"]
    asked: dict[str, Any] = {"tools": [WEATHER], "response_format": form, "max_tokens": 60}
    free = await answer_of(small, chat(question, parallel_tool_calls=False, **asked))
    for _, arguments in calls_in(free):
        jsonschema_rs.validate(PARAMETERS["get_weather"], arguments)
    if not calls_in(free):
        jsonschema_rs.validate(wanted, json.loads(content_of(free)))
    forced = chat(question, tool_choice="required", parallel_tool_calls=False, **asked)
    assert len(calls_in(await answer_of(small, forced))) == 1
    none = await answer_of(small, chat(question, tool_choice="none", **asked))
    jsonschema_rs.validate(wanted, json.loads(content_of(none)))


@pytest.mark.parametrize(
    "wanted",
    [
        {"$defs": {"s": {"$ref": "#/$defs/s"}}, "$ref": "#/$defs/s"},
        {
            "$defs": {
                "n": {
                    "type": "object",
                    "properties": {"n": {"$ref": "#/$defs/n"}},
                    "required": ["n"],
                }
            },
            "$ref": "#/$defs/n",
        },
    ],
)
async def test_a_schema_that_leads_nowhere_is_refused(
    small: LocalBackend, wanted: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await answer_of(small, held_to(wanted))
    assert refused.value.param == "response_format"
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("choice", ["auto", "required"])
async def test_no_stop_string_cuts_a_call(small: LocalBackend, choice: str) -> None:
    asked: dict[str, Any] = {"tools": [WEATHER], "parallel_tool_calls": False, "max_tokens": 60}
    request = chat("The weather in Rome?", tool_choice=choice, stop=["}", "_", '"'], **asked)
    choice_made = (await answer_of(small, request)).payload["choices"][0]
    if choice == "required":
        assert choice_made["finish_reason"] == "tool_calls"
    for call in choice_made["message"].get("tool_calls", ()):
        jsonschema_rs.validate(PARAMETERS["get_weather"], json.loads(call["function"]["arguments"]))


async def test_a_tool_that_takes_nothing_is_given_nothing(small: LocalBackend) -> None:
    tool = {"type": "function", "function": {"name": "now"}}
    asked: dict[str, Any] = {"tools": [tool], "tool_choice": "required", "max_tokens": 40}
    answer = await answer_of(small, chat("What time is it?", parallel_tool_calls=False, **asked))
    (call,) = answer.payload["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "now", "arguments": "{}"}


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ({"type": "object"}, {"type": "object"}),
        (
            {"properties": {"a": {"properties": {}}}, "required": ["a"]},
            {
                "properties": {"a": {"properties": {}, "additionalProperties": False}},
                "required": ["a"],
                "additionalProperties": False,
            },
        ),
        (
            {"items": {"properties": {"properties": {"type": "null"}}}},
            {
                "items": {
                    "properties": {"properties": {"type": "null"}},
                    "additionalProperties": False,
                }
            },
        ),
    ],
)
def test_objects_are_closed_where_they_may_be(stated: Any, kept: Any) -> None:
    assert closed(stated) == kept


@pytest.mark.parametrize(
    "stated",
    [
        {"properties": {}, "additionalProperties": True},
        {"properties": {}, "required": ["z"]},
        {"properties": {}, "anyOf": [{"required": ["b"]}]},
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
    ],
)
def test_objects_that_need_what_they_do_not_name_stay_open(stated: Any) -> None:
    assert closed(stated) == stated
