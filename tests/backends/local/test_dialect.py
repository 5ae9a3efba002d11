"""Calls in the words of a family: its template, its special tokens, and what a tiny model says."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from gateway.backends.local.calls import CallReader, tool_calls_of
from gateway.backends.local.dialect import HERMES, LLAMA, MISTRAL, Dialect, dialect_of
from gateway.backends.local.engine import Engine
from gateway.backends.local.forms import form_of
from gateway.backends.local.grammars import Grammars
from gateway.backends.local.load import LoadedModel, load
from gateway.backends.local.submission import LAST_EVENTS, Event, Submission
from gateway.core.errors import InvalidRequest
from tests.backends.local.families import FAMILIES, make_model

#: The parts of Llama 3.1's and of Mistral 7B v0.3's templates that are about tools.
_LLAMA_TEMPLATE = """\
{{- bos_token }}{%- for message in messages %}
{%- if message.tool_calls is defined %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- set call = message.tool_calls[0].function %}
{{- '{"name": "' + call.name + '", "parameters": ' }}
{{- call.arguments | tojson }}{{- "}<|eot_id|>" }}
{%- elif message.role == 'tool' %}
{{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + message.content + '<|eot_id|>' }}
{%- else %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
{%- if loop.first and tools %}
{{- 'Respond in the format {"name": function name, "parameters": dictionary of argument name '
 + 'and its value}.' }}{%- for t in tools %}{{- t | tojson(indent=4) }}{%- endfor %}
{%- endif %}
{{- message.content + '<|eot_id|>' }}
{%- endif %}{%- endfor %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"""
_MISTRAL_TEMPLATE = """\
{{- bos_token }}{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if loop.last and tools %}{{- '[AVAILABLE_TOOLS] ' }}{{- tools | tojson }}{%- endif %}
{{- '[INST] ' + message.content + '[/INST]' }}
{%- elif message.tool_calls is defined %}{{- '[TOOL_CALLS] [' }}
{%- for tool_call in message.tool_calls %}
{%- set out = tool_call.function | tojson %}{{- out[:-1] }}
{%- if tool_call.id | length != 9 %}{{- raise_exception('ids have length 9') }}{%- endif %}
{{- ', "id": "' + tool_call.id + '"}' }}{{- ']' + eos_token if loop.last else ', ' }}{%- endfor %}
{%- elif message.role == 'tool' %}
{%- if message.tool_call_id | length != 9 %}{{- raise_exception('ids have length 9') }}{%- endif %}
{{- '[TOOL_RESULTS] {"content": ' + message.content }}
{{- ', "call_id": "' + message.tool_call_id + '"}' }}
{%- else %}{{- ' ' + message.content + eos_token }}{%- endif %}{%- endfor %}"""

_ADD: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"enum": [1, 2]}, "b": {"type": "boolean"}},
            "required": ["a", "b"],
        },
    },
}
_ASKED: list[dict[str, Any]] = [{"role": "user", "content": "What is 1 and true?"}]
_CALLED: list[dict[str, Any]] = [
    *_ASKED,
    {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "call_0123456789abcdef01234567",
                "type": "function",
                "function": {"name": "add", "arguments": '{"a": 1, "b": true}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_0123456789abcdef01234567", "content": "7"},
]
_OURS = {
    "llama-tools": replace(FAMILIES["llama-3"], template=_LLAMA_TEMPLATE, generation={}),
    "mistral-tools": replace(
        FAMILIES["mistral-nemo"],
        template=_MISTRAL_TEMPLATE,
        special=(*FAMILIES["mistral-nemo"].special, "[TOOL_CALLS]"),
        generation={},
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LoadedModel]]:
    folder = tmp_path_factory.mktemp("dialects")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        for name, family in _OURS.items():
            patched.setitem(FAMILIES, name, family)
        yield {name: load(make_model(name, folder / name), "float32") for name in _OURS}
    torch.set_num_threads(threads)


def answered(model: LoadedModel, **fields: Any) -> tuple[str, list[tuple[str, Any]]]:
    """The text and the calls of an answer to `_ASKED`."""
    payload = {"tools": [_ADD], **fields}
    sampling = {"temperature": 1.0, "seed": 3, "max_tokens": 120, **fields.get("sampling", {})}
    events: queue.Queue[Event] = queue.Queue()
    engine = Engine(model, max_concurrent=2, max_queue=2)
    form = form_of(payload)
    engine.submit(Submission(_ASKED, sampling, events.put, tools=[_ADD], form=form))
    reader = CallReader(model.tokenizer.dialect)
    said = []
    while (event := events.get(timeout=60))["type"] not in LAST_EVENTS:
        said += list(reader.push(event.get("text", "")))
    assert event["type"] == "end", event
    said += list(reader.flush())
    functions = [call["function"] for call in tool_calls_of(said)]
    calls = [(one["name"], json.loads(one["arguments"])) for one in functions]
    return "".join(part.text for part in said), calls


@pytest.mark.parametrize(
    ("template", "dialect"),
    [
        (_LLAMA_TEMPLATE, LLAMA),
        (_MISTRAL_TEMPLATE, MISTRAL),
        ("{% for t in tools %}{{ t }}{% endfor %} <tool_call>", HERMES),
        ("{{ tools }} [TOOL_CALLS]{{ name }}[ARGS]{{ arguments }}", None),
        ("{{ tools }} <|start_header_id|>", None),
        ("{{ messages }} <tool_call>", None),
    ],
)
def test_a_template_tells_the_dialect(template: str, dialect: Dialect | None) -> None:
    assert dialect_of(template) is dialect


@pytest.mark.parametrize("name", _OURS)
def test_a_forced_call_is_one_in_the_models_own_words(
    models: dict[str, LoadedModel], name: str
) -> None:
    text, calls = answered(models[name], tool_choice="required", parallel_tool_calls=False)
    assert text == ""
    ((called, arguments),) = calls
    assert called == "add"
    assert arguments.keys() == {"a", "b"}


def test_a_model_may_call_by_its_special_token(models: dict[str, LoadedModel]) -> None:
    model = models["mistral-tools"]
    marker = str(model.tokenizer.token_id("[TOOL_CALLS]"))
    biased = {"logit_bias": [[marker, 100]], "stop": ["add", "[", "{"]}
    text, calls = answered(model, sampling=biased)
    assert text == ""
    assert len(calls) >= 1
    assert {name for name, _ in calls} == {"add"}
    silent = {"logit_bias": [[marker, -100]], "max_tokens": 30}
    text, calls = answered(model, sampling=silent)
    assert text
    assert not calls


@pytest.mark.parametrize(
    ("said", "is_allowed"),
    [
        ('{"name": "add", "parameters": {"a": 2, "b": false}}', True),
        ('{"number": 3}', True),
        ("The sum is 3.", True),
        ('{"name": "zoo", "parameters": {}}', False),
        ('{"name": "add", "parameters": {"a": 7}}', False),
    ],
)
def test_llama_may_call_or_say_something_else(
    models: dict[str, LoadedModel], said: str, *, is_allowed: bool
) -> None:
    model = models["llama-tools"]
    form = form_of({"tools": [_ADD]})
    assert form is not None
    constraint = Grammars(model.tokenizer, model.vocabulary, sorted(model.end_tokens)).constraint(
        form
    )
    tokens = [token for token in model.tokenizer.plain(said) if token not in _begins(model)]
    if is_allowed:
        for token in tokens:
            constraint.accept(token)
        assert constraint.is_complete == said.startswith('{"name"')
    else:
        with pytest.raises(InvalidRequest):
            for token in tokens:
                constraint.accept(token)


def _begins(model: LoadedModel) -> set[int]:
    return set(model.tokenizer.plain(""))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("llama-tools", '{"name": "add", "parameters": {"a": 1, "b": true}}<|eot_id|>'),
        ("mistral-tools", '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": true}, "id": '),
    ],
)
def test_the_model_reads_earlier_calls_as_it_wrote_them(
    models: dict[str, LoadedModel], name: str, shown: str
) -> None:
    tokenizer = models[name].tokenizer
    assert shown in tokenizer._rendered(_CALLED, [_ADD])
    assert tokenizer.encode(_CALLED, [_ADD])
