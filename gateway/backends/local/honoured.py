"""What of a request the local engine honours. The rest is refused, or told as ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from gateway.backends.local.conversation import calls_in
from gateway.backends.local.params import MOST_CHOICES
from gateway.wire.extras import asks, extras, message_extras, part_extras, stream_extras

#: Chat fields that the engine does what they say, the capability filter's among them.
HONOURED = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "min_p",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "repetition_penalty",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        # asked for by capability, and then answered elsewhere
        "audio",
    }
)
#: Those that change what an answer is, each with the value that asks for nothing.
_REFUSED: Mapping[str, Sequence[object]] = {
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": ([], ["text"]),
    "web_search_options": (),
}
_CHOICES = ("none", "auto", "required")
_FORMATS = ("text", "json_object", "json_schema")
_MOST_TOP_LOGPROBS = 20
_MOST_BIAS = 100
#: Stop strings, which every token's text is searched for (OpenAI takes four), and the longest.
_MOST_STOPS = 16
_LONGEST_STOP = 512
#: Of a token's id; Python itself refuses to read numbers of some thousands.
_MOST_DIGITS = 20
#: Beyond these a logit is no number any more.
_REPETITION = (0.01, 100)
#: The types of content parts, each with the member that holds its text.
_TEXTS = {"text": "text", "refusal": "refusal"}
_PART = frozenset({"type", *_TEXTS.values()})
#: Every answer keeps to its schema, whether it is to be strict or not.
_SCHEMA = frozenset({"name", "schema", "strict"})
_TOOL = frozenset({"type", "function"})
_CALL = frozenset({"id", "type", "function"})
_SAID = frozenset({"role", "content", "refusal", "tool_calls", "function_call", "tool_call_id"})


def unsupported_in(payload: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The place of what the engine can't honour although it changes what an answer is."""
    for name, neutral in _REFUSED.items():
        value = payload.get(name)
        if value is not None and value not in neutral:
            return name
    for name, is_fine in _CHECKED.items():
        value = payload.get(name)
        if value is not None and not is_fine(value):
            return name
    if (fault := _tool_fault(payload)) is not None:
        return fault
    faults = (_message_fault(one, f"messages[{index}]") for index, one in enumerate(messages))
    return next((fault for fault in faults if fault is not None), None)


def _message_fault(message: Mapping[str, Any], place: str) -> str | None:
    if not _are_calls(message.get("tool_calls")):
        return f"{place}.tool_calls"
    if message.get("function_call") and not _are_calls(calls_in(message)):
        return f"{place}.function_call"
    content = message.get("content")
    if not isinstance(content, list):
        return None
    for number, part in enumerate(content):
        member = _unreadable_in(part)
        if member is not None:
            return f"{place}.content[{number}].{member}"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_bias(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(token, str)
        and token.isascii()
        and token.isdigit()
        and len(token) <= _MOST_DIGITS
        and _is_number(bias)
        and -_MOST_BIAS <= bias <= _MOST_BIAS
        for token, bias in value.items()
    )


def _are_stops(stops: Sequence[str]) -> bool:
    return len(stops) <= _MOST_STOPS and all(len(stop) <= _LONGEST_STOP for stop in stops)


def _is_format(value: object) -> bool:
    if not isinstance(value, Mapping) or value.get("type", "text") not in _FORMATS:
        return False
    if value.get("type") != "json_schema":
        return True
    stated = value.get("json_schema")
    return (
        isinstance(stated, Mapping)
        and isinstance(stated.get("schema"), Mapping | None)
        and _is_writable(stated)
    )


def _is_writable(value: object) -> bool:
    """Whether JSON can be written again, a few levels deeper: what is read may be deeper."""
    try:
        orjson.dumps([[[[[[[[value]]]]]]]])
    except TypeError:
        return False
    return True


#: What the API doesn't check, by field.
_CHECKED: Mapping[str, Callable[[Any], bool]] = {
    "top_k": _is_number,
    "min_p": lambda value: _is_number(value) and 0 <= value <= 1,
    "repetition_penalty": lambda value: (
        _is_number(value) and _REPETITION[0] <= value <= _REPETITION[1]
    ),
    "logit_bias": _is_bias,
    "n": lambda value: value <= MOST_CHOICES,
    "stop": lambda value: _are_stops([value] if isinstance(value, str) else value),
    "top_logprobs": lambda value: value <= _MOST_TOP_LOGPROBS,
    "response_format": _is_format,
    "parallel_tool_calls": lambda value: isinstance(value, bool),
}


def _tool_fault(payload: Mapping[str, Any]) -> str | None:
    """The place of a tool, or of a choice among them, that the engine can't read."""
    tools = payload.get("tools") or ()
    for index, tool in enumerate(tools):
        if not _is_function(tool):
            return f"tools[{index}]"
    choice = payload.get("tool_choice")
    if choice is None or (isinstance(choice, str) and choice in _CHOICES):
        return "tool_choice" if choice == "required" and not tools else None
    named = choice.get("function") if isinstance(choice, Mapping) else None
    name = named.get("name") if isinstance(named, Mapping) else None
    return None if any(tool["function"]["name"] == name for tool in tools) else "tool_choice"


def _is_function(tool: Mapping[str, Any]) -> bool:
    function = tool.get("function")
    return (
        tool.get("type") == "function"
        and isinstance(function, Mapping)
        and isinstance(function.get("name"), str)
        and _are_parameters(function.get("parameters"))
        and _is_writable(function)
    )


def _are_parameters(schema: object) -> bool:
    """Whether a schema of arguments is for an object: they can be nothing else."""
    if schema is None:
        return True
    stated = schema.get("type", "object") if isinstance(schema, Mapping) else None
    return stated == "object" or (isinstance(stated, list) and "object" in stated)


def _are_calls(calls: object) -> bool:
    if calls is None:
        return True
    return isinstance(calls, list) and all(
        isinstance(call, Mapping)
        and isinstance(function := call.get("function"), Mapping)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
        for call in calls
    )


def _unreadable_in(part: object) -> str | None:
    if not isinstance(part, Mapping):
        return None
    kind = part.get("type")
    member = _TEXTS.get(kind) if isinstance(kind, str) else None
    if member is None:
        return "type"
    return None if isinstance(part.get(member), str) else member


def _form_extras(payload: Mapping[str, Any]) -> Iterator[str]:
    """Such as `response_format.json_schema.description`, for which a grammar has no use."""
    wanted = payload.get("response_format")
    if isinstance(wanted, Mapping):
        named = extras(wanted.get("json_schema"), _SCHEMA)
        yield from (f"response_format.json_schema.{name}" for name in named)
    for tool in payload.get("tools") or ():
        yield from (f"tools[].{name}" for name in extras(tool, _TOOL))


def _call_extras(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Such as `messages[].tool_calls[].caller`; may repeat."""
    for message in messages:
        for call in message.get("tool_calls") or ():
            yield from (f"messages[].tool_calls[].{name}" for name in extras(call, _CALL))


def ignored_in(
    payload: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """The fields that ask for something and change nothing."""
    names = payload.keys() - HONOURED - _REFUSED.keys()
    told = sorted(name for name in names if asks(payload[name]))
    inner = {
        *stream_extras(payload),
        *message_extras(messages, _SAID),
        *part_extras(messages, _PART),
        *_form_extras(payload),
        *_call_extras(messages),
    }
    if any(message.get("refusal") and message.get("content") for message in messages):
        inner.add("messages[].refusal")
    return (*told, *sorted(inner))
