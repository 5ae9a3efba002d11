"""Bodies of requests: OpenAI's chat completions to Anthropic's Messages, and back.

Fields that neither side names are kept. What one side names and the other lacks is left out:
chat's `logprobs`, `seed`, penalties, `metadata`, `response_format: json_object` and the like on
the way to Messages (which refuses fields it doesn't know); what `anthropic_limits` finds to change
what an answer is (several choices, audio, free-form tools) is refused as CapabilityMissing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from gateway.core.errors import CapabilityMissing, InvalidRequest
from gateway.wire.anthropic_content import blocks_of, folded, parts_of, parts_of_block, result_parts
from gateway.wire.anthropic_limits import unsupported_in
from gateway.wire.anthropic_options import (
    chat_options,
    chat_tool_choice,
    messages_options,
    messages_tool_choice,
)
from gateway.wire.json_objects import (
    Json,
    check_optional,
    compact,
    mapping_at,
    object_at,
    objects_at,
    text_at,
    tool_input,
    without,
)

#: Anthropic requires a limit and OpenAI doesn't.
DEFAULT_MAX_TOKENS = 4096

_INSTRUCTIONS = frozenset({"system", "developer"})
_NOT_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_THINKING = frozenset({"thinking", "redacted_thinking"})
_TURN = ("role", "content")
_NO_PARAMETERS: Json = {"type": "object", "properties": {}}


def messages_body(
    chat: Mapping[str, Any],
    *,
    default_max_tokens: int = DEFAULT_MAX_TOKENS,
    thinking: Literal["adaptive", "budget"] = "adaptive",
) -> Json:
    """A chat body as a Messages body.

    System and developer messages move to `system`, wherever they stand; neighbours of one role
    become one message. A temperature above 1, Anthropic's highest, is sent as 1. `thinking` says
    what `reasoning_effort` becomes: `adaptive` thinking with that effort, or a `budget` of tokens
    for models that know no other way. Raises InvalidRequest and CapabilityMissing.
    """
    if (place := unsupported_in(chat)) is not None:
        raise CapabilityMissing(f"The chosen model can't be given '{place}'.", param=place)
    system: list[Json] = []
    turns: list[Json] = []
    for index, message in enumerate(objects_at(chat.get("messages"), "messages")):
        param = f"messages[{index}]"
        if message.get("role") in _INSTRUCTIONS:
            system += _marked(blocks_of(message.get("content"), f"{param}.content"), message)
            continue
        role, blocks = _turn(message, param)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    unsigned_call = _ends_in_an_unsigned_call(turns)
    for turn in turns:
        turn["content"] = folded(turn["content"])
    tools = [
        _tool(tool, f"tools[{i}]") for i, tool in enumerate(objects_at(chat.get("tools"), "tools"))
    ]
    choice = messages_tool_choice(chat, tools)
    options = messages_options(
        chat,
        default_max_tokens=default_max_tokens,
        thinking=thinking,
        may_think=choice.get("type") not in {"any", "tool"}
        and (thinking == "adaptive" or not unsigned_call),
    )
    return {
        "model": chat.get("model"),
        **({"system": folded(system)} if system else {}),
        "messages": turns,
        **({"tools": tools} if tools else {}),
        **({"tool_choice": choice} if choice else {}),
        **options,
    }


def _turn(message: Json, param: str) -> tuple[str, list[Json]]:
    content = blocks_of(message.get("content"), f"{param}.content")
    match message.get("role"):
        case "user":
            return "user", _marked(content, message)
        case "tool":
            return "user", [_tool_result(message, content, param)]
        case "assistant":
            return "assistant", _assistant_blocks(message, content, param)
        case role:
            raise InvalidRequest(f"The role {role!r} can't be sent on.", param=f"{param}.role")


def _assistant_blocks(message: Json, content: list[Json], param: str) -> list[Json]:
    refusal = [] if content else blocks_of(message.get("refusal"), f"{param}.refusal")
    calls = objects_at(message.get("tool_calls"), f"{param}.tool_calls")
    return [
        *objects_at(message.get("thinking_blocks"), f"{param}.thinking_blocks"),
        *_marked(content or refusal, message),
        *(_tool_use(call, f"{param}.tool_calls[{i}]") for i, call in enumerate(calls)),
    ]


def _marked(blocks: list[Json], message: Json) -> list[Json]:
    """The blocks with a message's own `cache_control` on the last of them."""
    mark = message.get("cache_control")
    return (
        blocks
        if mark is None
        else [*blocks[:-1], *({**b, "cache_control": mark} for b in blocks[-1:])]
    )


def _tool_use(call: Json, param: str) -> Json:
    function = object_at(call.get("function"), f"{param}.function")
    return {
        "type": "tool_use",
        "id": _call_id(text_at(call, "id", param)),
        "name": text_at(function, "name", f"{param}.function"),
        "input": tool_input(function.get("arguments")),
        **without(call, "id", "type", "function", "index"),
    }


def _tool_result(message: Json, content: list[Json], param: str) -> Json:
    return {
        "type": "tool_result",
        "tool_use_id": _call_id(text_at(message, "tool_call_id", param)),
        **({"content": folded(content)} if content else {}),
        **{key: message[key] for key in ("is_error", "cache_control") if message.get(key)},
    }


def _call_id(identifier: str) -> str:
    """Anthropic refuses ids with other characters than these; some upstreams make such ids."""
    return _NOT_AN_ID.sub("_", identifier)


def _ends_in_an_unsigned_call(turns: list[Json]) -> bool:
    """Whether the tool calls that are being answered came without their thinking."""
    last = next((turn for turn in reversed(turns) if turn["role"] == "assistant"), None)
    kinds = {block.get("type") for block in last["content"]} if last else set()
    return "tool_use" in kinds and not kinds & _THINKING


def _tool(tool: Json, param: str) -> Json:
    if tool.get("type") != "function":
        return tool
    function = object_at(tool.get("function"), f"{param}.function")
    return {
        "name": text_at(function, "name", f"{param}.function"),
        **without(function, "name", "parameters"),
        "input_schema": function.get("parameters") or _NO_PARAMETERS,
        **without(tool, "type", "function"),
    }


def chat_body(messages: Mapping[str, Any]) -> Json:
    """A Messages body as a chat body.

    Tool results become tool messages before the rest of their turn; their images and files, which
    a tool message can't hold, follow in the user's message. Thinking blocks stay on the message
    as `thinking_blocks`. Raises InvalidRequest.
    """
    chat: list[Json] = []
    if messages.get("system"):
        chat.append({"role": "system", "content": folded(parts_of(messages["system"], "system"))})
    for index, message in enumerate(objects_at(messages.get("messages"), "messages")):
        param = f"messages[{index}].content"
        content = message.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        checked = objects_at(content, param)
        match message.get("role"):
            case "user":
                chat += _user_messages(message, checked, param)
            case "assistant":
                chat.append(_assistant_message(message, checked, param))
            case "system":
                chat.append({"role": "system", "content": folded(parts_of(checked, param))})
            case role:
                param = f"messages[{index}].role"
                raise InvalidRequest(f"The role {role!r} is unknown.", param=param)
    tools = objects_at(messages.get("tools"), "tools")
    return {
        "model": messages.get("model"),
        "messages": chat,
        **({"tools": [_chat_tool(t, f"tools[{i}]") for i, t in enumerate(tools)]} if tools else {}),
        **chat_tool_choice(messages),
        **chat_options(messages),
    }


def _user_messages(message: Json, blocks: list[Json], param: str) -> list[Json]:
    tool_messages: list[Json] = []
    attached: list[Json] = []
    rest: list[Json] = []
    for index, block in enumerate(blocks):
        place = f"{param}[{index}]"
        if block.get("type") != "tool_result":
            rest += parts_of_block(block, place)
            continue
        identifier = text_at(block, "tool_use_id", place)
        check_optional(block, place, is_error=bool, cache_control=dict)
        texts, attachments = result_parts(block.get("content"), f"{place}.content")
        marks = without(block, "type", "tool_use_id", "content")
        kept = {key: value for key, value in marks.items() if value is not False}
        content = folded(texts) if texts else ""
        tool_messages.append(
            {"role": "tool", "tool_call_id": identifier, "content": content, **kept}
        )
        if attachments:
            attached += [{"type": "text", "text": f"Result of {identifier}:"}, *attachments]
    parts = [*attached, *rest]
    if parts or not tool_messages:
        said = folded(parts) if parts else ""
        return [*tool_messages, {"role": "user", "content": said, **without(message, *_TURN)}]
    return tool_messages


def _assistant_message(message: Json, blocks: list[Json], param: str) -> Json:
    thinking: list[Json] = []
    calls: list[Json] = []
    parts: list[Json] = []
    for index, block in enumerate(blocks):
        place = f"{param}[{index}]"
        if (kind := block.get("type")) in _THINKING:
            text_at(block, "thinking" if kind == "thinking" else "data", place)
            check_optional(block, place, signature=str)
            thinking.append(block)
        elif kind == "tool_use":
            calls.append(_tool_call(block, place))
        else:
            parts += parts_of_block(block, place)
    return {
        "role": "assistant",
        "content": folded(parts) if parts else (None if calls else ""),
        **({"thinking_blocks": thinking} if thinking else {}),
        **({"tool_calls": calls} if calls else {}),
        **without(message, *_TURN),
    }


def _tool_call(block: Json, param: str) -> Json:
    check_optional(block, param, cache_control=dict)
    arguments = compact(mapping_at(block.get("input", {}), f"{param}.input"))
    return {
        "id": text_at(block, "id", param),
        "type": "function",
        "function": {"name": text_at(block, "name", param), "arguments": arguments},
        **without(block, "id", "type", "name", "input"),
    }


def _chat_tool(tool: Json, param: str) -> Json:
    if "input_schema" not in tool:
        return tool
    schema = {"parameters": mapping_at(tool["input_schema"], f"{param}.input_schema")}
    told = {key: tool[key] for key in ("description", "strict") if tool.get(key) is not None}
    return {
        "type": "function",
        "function": {"name": text_at(tool, "name", param), **told, **schema},
        **without(tool, "type", "name", "description", "strict", "input_schema"),
    }
