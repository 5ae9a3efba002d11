"""What answers are held to, by a tiny network that would say anything."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema_rs
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from gateway.backends.local.calls import CallReader, tool_calls_of
from gateway.backends.local.constraint import Constraint
from gateway.backends.local.forms import form_of
from gateway.backends.local.grammars import Grammars
from gateway.backends.local.template import ChatTemplate
from gateway.backends.local.tokens import ChatTokenizer
from gateway.core.errors import InvalidRequest
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


def wide(number: int) -> dict[str, Any]:
    text = {"type": "string", "pattern": f"[a-z]{{{number},{number + 50}}}x"}
    return {"type": "object", "properties": {f"p{n}": text for n in range(20)}}


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


CALL = {"type": "function", "function": {"name": "f", "parameters": A}}
ANSWER = {"type": "json_schema", "json_schema": {"name": "x", "schema": B}}


def test_with_tools_and_a_schema_the_answer_is_either(tokenizer: ChatTokenizer) -> None:
    form = form_of({"tools": [CALL], "response_format": ANSWER})
    assert form is not None
    told = set()
    for seed in range(24):
        text = chosen(tokenizer, form, seed)
        reader = CallReader()
        calls = tool_calls_of([*reader.push(text), *reader.flush()])
        told.add(bool(calls))
        if not calls:
            assert text.startswith('{"b": ')
        elif text.endswith("</tool_call>"):
            jsonschema_rs.validate(A, json.loads(calls[-1]["function"]["arguments"]))
    assert told == {True, False}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_forced_call_goes_before_a_schema(tokenizer: ChatTokenizer, choice: Any) -> None:
    form = form_of({"tools": [CALL], "response_format": ANSWER, "tool_choice": choice})
    assert form is not None
    assert chosen(tokenizer, form, 1).startswith('<tool_call>\n{"name": "f", "arguments": {"a": ')


def test_of_a_schema_and_tools_the_one_that_is_refused_is_named(tokenizer: ChatTokenizer) -> None:
    broken = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}
    for fields, param in (
        ({"tools": [CALL], "response_format": broken}, "response_format"),
        ({"tools": [tool_of({"properties": {"a": {"not": {}}}})]}, "tools"),
    ):
        form = form_of(fields)
        assert form is not None
        with pytest.raises(InvalidRequest) as refused:
            Grammars(tokenizer, VOCABULARY, [END]).constraint(form)
        assert refused.value.param == param


def tool_of(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


def schema_form(schema: dict[str, Any]) -> dict[str, Any]:
    stated = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    form = form_of({"response_format": stated})
    assert form is not None
    return form


def test_a_grammar_is_compiled_once_and_answers_go_their_own_ways(
    tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    grammars, form = Grammars(tokenizer, VOCABULARY, [END]), schema_form(A)
    assert not grammars.knows(form)
    one = grammars.constraint(form)
    assert grammars.knows(form)
    assert not grammars.knows(schema_form(B))
    with monkeypatch.context() as patched:
        patched.setattr(grammars, "_compiled", lambda form: pytest.fail("compiled again"))
        other = grammars.constraint({**form, "param": "tools"})
    first = allowed(one)
    one.accept(first[0])
    assert allowed(other) == first != allowed(one)


def test_whoever_looks_what_is_known_waits_for_no_tokenizer(
    tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's event loop looks before each answer that has a form."""
    grammars = Grammars(tokenizer, VOCABULARY, [END])
    begun, goes_on = threading.Event(), threading.Event()

    def slow(size: int) -> str:
        begun.set()
        assert goes_on.wait(20)
        return to_json(size)

    to_json = tokenizer.to_json
    monkeypatch.setattr(tokenizer, "to_json", slow)
    with ThreadPoolExecutor(2) as pool:
        made = pool.submit(grammars.constraint, schema_form(A))
        assert begun.wait(20)
        try:
            assert not pool.submit(grammars.knows, schema_form(A)).result(5)
        finally:
            goes_on.set()
        made.result(20)
    assert grammars.knows(schema_form(A))


def test_the_oldest_grammars_are_forgotten(tokenizer: ChatTokenizer) -> None:
    grammars = Grammars(tokenizer, VOCABULARY, [END])
    forms = [schema_form({"enum": [number]}) for number in range(66)]
    for form in forms:
        grammars.constraint(form)
    assert [grammars.knows(form) for form in forms] == [False, False, *[True] * 64]
    large = [schema_form({"enum": ["x" * 200_000, number]}) for number in range(6)]
    for form in large:
        grammars.constraint(form)
    assert [grammars.knows(form) for form in large] == [False, *[True] * 5]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object", "properties": {f"p{n}": {} for n in range(1001)}}, "1000 properties"),
        ({"enum": ["x" * 300_000]}, "larger than"),
        ({"anyOf": [wide(n) for n in range(100)]}, "can't be held"),
    ],
)
def test_what_would_take_too_long_is_refused(
    tokenizer: ChatTokenizer, schema: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        Grammars(tokenizer, VOCABULARY, [END]).constraint(schema_form(schema))
    assert refused.value.param == "response_format"
    assert len(refused.value.message) < 300


def test_nothing_is_printed(tokenizer: ChatTokenizer, capfd: pytest.CaptureFixture[str]) -> None:
    constraint = Grammars(tokenizer, VOCABULARY, [END]).constraint(schema_form(A))
    with pytest.raises(InvalidRequest):
        for _ in range(2):  # a token that the schema doesn't allow
            constraint.accept(next(n for n in range(VOCABULARY) if n not in allowed(constraint)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("vocabulary", [VOCABULARY - 40, VOCABULARY, VOCABULARY + 100])
@pytest.mark.parametrize("ends", [[END], [], [VOCABULARY + 50], [9_999_999]])
def test_a_vocabulary_and_a_tokenizer_of_two_sizes(
    tokenizer: ChatTokenizer, vocabulary: int, ends: list[int]
) -> None:
    constraint = Grammars(tokenizer, vocabulary, ends).constraint(schema_form(A))
    tokens: list[int] = []
    random = torch.Generator().manual_seed(5)
    while not constraint.is_complete and len(tokens) < 60:
        logits = torch.randn(vocabulary, generator=random)
        constraint.restrict(logits)
        tokens.append(int(logits.argmax()))
        constraint.accept(tokens[-1])
    assert max(tokens) < vocabulary
    assert json.loads(tokenizer.decode(tokens))["a"] in (True, False)


def test_a_tokenizer_of_another_kind_is_refused_by_name() -> None:
    words = Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer = ChatTokenizer(words, ChatTemplate("", {}))
    grammars = Grammars(tokenizer, 2, [1])
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="tokenizer") as refused:
            grammars.constraint(schema_form(A))
        assert refused.value.param == "response_format"


def allowed(constraint: Constraint) -> list[int]:
    logits = torch.zeros(VOCABULARY)
    constraint.restrict(logits)
    found: list[int] = (logits == 0).nonzero()[:, 0].tolist()
    return found
