"""What answers are held to, by a tiny network that would say anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import pytest
import torch

from gateway.backends.local.calls import CallReader, tool_calls_of
from gateway.backends.local.forms import form_of
from gateway.backends.local.grammars import Grammars
from gateway.backends.local.tokens import ChatTokenizer
from tests.backends.local.families import make_model

VOCABULARY, END = 320, 1
#: As pydantic writes them.
NESTED = {
    "$defs": {"Side": {"enum": ["left", "right"]}},
    "type": "object",
    "properties": {"side": {"$ref": "#/$defs/Side"}},
    "required": ["side"],
}
TREE = {
    "type": "object",
    "properties": {"next": {"$ref": "#"}, "end": {"type": "boolean"}},
    "required": ["end"],
}


B, C = ({"type": "object", "properties": {name: {}}, "required": [name]} for name in "bc")
A = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
#: An object that several schemas describe together.
TOGETHER = [
    {**A, "anyOf": [B, C]},
    {"type": "object", "required": ["a"], "anyOf": [A, {**A, "required": ["a", "b"]}]},
    {"$defs": {"B": B}, "type": "array", "items": {"$ref": "#/$defs/B", **A}, "minItems": 1},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    found = ChatTokenizer.of_folder(make_model("smollm2", tmp_path_factory.mktemp("m") / "model"))
    assert found is not None
    return found


def chosen(tokenizer: ChatTokenizer, form: Mapping[str, Any], seed: int) -> str:
    """The text of random tokens that are possible, up to the end or for two hundred tokens."""
    constraint = Grammars(tokenizer, VOCABULARY, [END]).constraint(form)
    random = torch.Generator().manual_seed(seed)
    tokens: list[int] = []
    while not constraint.is_complete and len(tokens) < 200:
        logits = torch.randn(VOCABULARY, generator=random)
        constraint.restrict(logits)
        tokens.append(int(logits.argmax()))
        constraint.accept(tokens[-1])
    return tokenizer.decode(tokens)


@pytest.mark.parametrize(
    "parameters",
    [
        NESTED,
        TREE,
        {"properties": {"a": {"type": "boolean"}}, "required": ["a"]},
        {"type": ["object", "null"], "properties": {"a": {"type": "boolean"}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"a": {"enum": [1, 2]}}}}},
        {
            "anyOf": [
                {"properties": {"a": {"enum": [1]}}, "required": ["a"]},
                {"properties": {"b": {"enum": [2]}}, "required": ["b"]},
            ]
        },
    ],
)
@pytest.mark.parametrize("name", ["f", 'a "b" \\ c'])
def test_arguments_are_an_object_of_the_schema(
    tokenizer: ChatTokenizer, parameters: dict[str, Any], name: str
) -> None:
    tool = {"type": "function", "function": {"name": name, "parameters": parameters}}
    form = form_of({"tools": [tool], "tool_choice": "required", "parallel_tool_calls": False})
    assert form is not None
    finished = 0
    for seed in range(8):
        text = chosen(tokenizer, form, seed)
        reader = CallReader()
        (call,) = tool_calls_of([*reader.push(text), *reader.flush()])
        assert call["function"]["name"] == name
        if text.endswith("</tool_call>"):
            finished += 1
            arguments = json.loads(call["function"]["arguments"])
            assert isinstance(arguments, dict)
            jsonschema_rs.validate(parameters, arguments)
    assert finished


@pytest.mark.parametrize("schema", TOGETHER)
def test_what_several_schemas_describe_together(
    tokenizer: ChatTokenizer, schema: dict[str, Any]
) -> None:
    stated = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    form = form_of({"response_format": stated})
    assert form is not None
    Grammars(tokenizer, VOCABULARY, [END]).constraint(form)
