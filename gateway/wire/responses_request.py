"""A `POST /v1/responses` body as a chat completions body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.core.errors import InvalidRequest
from gateway.wire.responses_items import (
    Json,
    input_items,
    invalid,
    messages_of,
    text_field,
    unsupported,
)

#: Read below, or about what no chat request has: the others are kept as they are.
_NOT_COPIED = frozenset(
    {
        "background",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "messages",
        "metadata",
        "previous_response_id",
        "reasoning",
        "store",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)
#: The tools that the client runs itself. A tuple: what a client sends may have no hash.
_TOOLS = ("function", "custom")
_UNSUPPORTED = ("context_management", "conversation", "prompt")


def chat_body(body: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]] = ()) -> Json:
    """The chat body of a request. Raises InvalidRequest naming the field at fault.

    `earlier` holds the items, inputs and outputs in order, of the responses before this one
    (`previous_response_id`). Instructions are those of this request alone. Unknown fields are
    kept; a field that is null counts as absent.
    """
    _refuse_unsupported(body)
    chat = {
        name: value for name, value in body.items() if value is not None and name not in _NOT_COPIED
    }
    chat["messages"] = _messages(body, earlier)
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    effort = _object(body, "reasoning").get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    _add_text(chat, _object(body, "text"))
    _add_tools(chat, body)
    if body.get("top_logprobs") or "message.output_text.logprobs" in _list(body, "include"):
        chat["logprobs"] = True
    # The gateway keeps responses itself; some upstreams keep chats unless they are told not to.
    if body.get("store") is False:
        chat["store"] = False
    if chat.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    return chat


def _refuse_unsupported(body: Mapping[str, Any]) -> None:
    for name in _UNSUPPORTED:
        if body.get(name) is not None:
            raise unsupported(f"'{name}' is not supported.", name)
    if body.get("background"):
        raise unsupported("Background responses are not supported.", "background")
    if body.get("truncation") not in (None, "disabled"):
        raise unsupported(
            "A conversation is never cut: 'truncation' is not supported.", "truncation"
        )
    if _object(body, "reasoning").get("mode") not in (None, "standard"):
        raise unsupported("'reasoning.mode' must be standard.", "reasoning.mode")
    if body.get("n") not in (None, 1):
        raise unsupported("A response is one answer; 'n' is not supported.", "n")


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise invalid("an object", name)
    return value


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid("a list", name)
    return value


def _messages(body: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> list[Json]:
    given = body.get("input")
    items = [] if given is None else input_items(given)
    for index, item in enumerate(items):
        if isinstance(item, Mapping) and item.get("type") == "item_reference":
            raise unsupported("References to items are not supported.", f"input[{index}].type")
    messages = [*messages_of(earlier, "previous_response_id"), *messages_of(items, "input")]
    if not messages:
        raise InvalidRequest("'input' must hold at least one message.", param="input")
    instructions = body.get("instructions")
    if instructions is None:
        return messages
    if not isinstance(instructions, str):
        raise invalid("a string", "instructions")
    return [{"role": "system", "content": instructions}, *messages]


def _add_text(chat: Json, text: Mapping[str, Any]) -> None:
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    answer = text.get("format")
    if answer is None:
        return
    if not isinstance(answer, Mapping):
        raise invalid("an object", "text.format")
    kind = answer.get("type")
    if kind == "json_object":
        chat["response_format"] = {"type": kind}
    elif kind == "json_schema":
        chat["response_format"] = {"type": kind, kind: _without_type(answer)}
    elif kind != "text":
        raise unsupported(
            "'text.format.type' must be text, json_object or json_schema.", "text.format.type"
        )


def _without_type(value: Mapping[str, Any]) -> Json:
    return {
        name: content for name, content in value.items() if name != "type" and content is not None
    }


def _add_tools(chat: Json, body: Mapping[str, Any]) -> None:
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(_list(body, "tools"))]
    choice = body.get("tool_choice")
    made = None if choice is None else _choice(choice)
    if tools:
        chat["tools"] = tools
    else:
        # A chat API takes these beside tools alone; Responses clients send them always.
        chat.pop("parallel_tool_calls", None)
        if made in ("auto", "none"):
            return
    if made is not None:
        chat["tool_choice"] = made


def _tool(tool: object, where: str) -> Json:
    if not isinstance(tool, Mapping):
        raise invalid("an object", where)
    kind = tool.get("type")
    if kind not in _TOOLS:
        raise unsupported(
            f"Tools of type '{str(kind)[:64]}' are not supported: only functions and custom "
            "tools, which the client runs, are.",
            f"{where}.type",
        )
    text_field(tool, "name", where)
    inner = _without_type(tool)
    grammar = inner.get("format")
    if isinstance(grammar, Mapping) and grammar.get("type") == "grammar":
        inner["format"] = {"type": "grammar", "grammar": _without_type(grammar)}
    return {"type": kind, kind: inner}


def _choice(choice: object) -> str | Json:
    if isinstance(choice, str):
        return choice
    if not isinstance(choice, Mapping):
        raise invalid("a string or an object", "tool_choice")
    kind = choice.get("type")
    if kind == "allowed_tools":
        tools = [
            _named(tool, f"tool_choice.tools[{index}]")
            for index, tool in enumerate(_list(choice, "tools"))
        ]
        return {"type": kind, kind: {"mode": choice.get("mode", "auto"), "tools": tools}}
    return _named(choice, "tool_choice")


def _named(choice: object, where: str) -> Json:
    """`{"type": "function", "name": …}` with the name one level deeper."""
    if not isinstance(choice, Mapping):
        raise invalid("an object", where)
    kind = choice.get("type")
    if kind not in _TOOLS:
        raise unsupported(
            f"Tools of type '{str(kind)[:64]}' can't be chosen here.", f"{where}.type"
        )
    return {"type": kind, kind: {"name": text_field(choice, "name", where)}}
