"""Every place of a Messages body with every other kind of value: read, or refused by its name."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import orjson
import pytest

from gateway.api.messages import MessagesFormat
from gateway.core.errors import InvalidRequest

Json = dict[str, Any]
FORMAT = MessagesFormat()
IMAGE: Json = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
CACHED: Json = {"cache_control": {"type": "ephemeral"}}
#: Everything that the gateway reads.
WHOLE: Json = {
    "model": "auto",
    "max_tokens": 64,
    "system": [{"type": "text", "text": "Be brief.", **CACHED}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look."},
                IMAGE,
                {"type": "image", "source": {"type": "url", "url": "https://127.0.0.1/a.png"}},
                {
                    "type": "document",
                    "title": "A",
                    "context": "c",
                    "source": {"type": "text", "media_type": "text/plain", "data": "d"},
                },
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "text", "text": "e"}]},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "redacted_thinking", "data": "r"},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"type": 5}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "Rain."}, IMAGE],
                    "is_error": False,
                },
            ],
        },
    ],
    "tools": [{"name": "weather", "description": "d", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "service_tier": "auto",
    "stream": False,
    "container": "c",
    "mcp_servers": [{"type": "url"}],
    "context_management": {"edits": []},
}


OTHERS: list[Any] = [None, True, 5, 2**63, -1.5, "x", "", [], [5], [[]], {}, {"type": []}, {"x": 1}]


def places(value: object, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """The path of everything inside of a body."""
    if path:
        yield path
    members: Any = ()
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    for key, inner in members:
        yield from places(inner, *path, key)


def with_other(path: tuple[str | int, ...], value: object) -> Json:
    body = deepcopy(WHOLE)
    holder: Any = body
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return body


def param_of(path: tuple[str | int, ...]) -> str:
    named = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return named.lstrip(".")


@pytest.mark.parametrize("path", list(places(WHOLE)), ids=param_of)
def test_a_value_of_another_type_is_named_or_goes_through(path: tuple[str | int, ...]) -> None:
    field = str(path[0])
    for value in OTHERS:
        try:
            FORMAT.parse(orjson.dumps(with_other(path, value)))
        except InvalidRequest as error:
            assert error.param is not None
            # What is wrong may stand within the value, or be missing beside it.
            assert error.param.split("[")[0].split(".")[0] == field
            assert error.param in error.message or error.param.endswith(".role")


@pytest.mark.parametrize("inside", ["system", "tools", "message", "result", "document"])
def test_too_many_blocks_are_refused(inside: str) -> None:
    many: list[Json] = [{"type": "text", "text": "x"}] * 50_001
    fields: Json = {
        "system": {"system": many},
        "tools": {"tools": [{"name": "t", "input_schema": {}}] * 50_001},
        "message": {"messages": [{"role": "user", "content": many}]},
        "result": {"messages": [_with_block("tool_result", tool_use_id="1", content=many)]},
        "document": {
            "messages": [_with_block("document", source={"type": "content", "content": many})]
        },
    }[inside]
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(InvalidRequest) as refused:
        FORMAT.parse(orjson.dumps({**body, **fields}))
    assert (refused.value.param or "").partition("[")[0] == next(iter(fields))


def _with_block(kind: str, **members: Any) -> Json:
    return {"role": "user", "content": [{"type": kind, **members}]}
