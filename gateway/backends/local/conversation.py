"""Messages of the OpenAI API as the turns that a chat template takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from gateway.backends.local.dialect import CALL_BEGINS, CALL_ENDS

Turn = dict[str, Any]

_TOOLS = """\
You can call functions to help with the request. These are the functions, one JSON object a line:
<tools>
{tools}
</tools>
To call a function, answer with its name and arguments as JSON between these tags:
{begins}
{{"name": "function name", "arguments": {{"argument name": "value"}}}}
{ends}
Its result comes back to you between <tool_response> and </tool_response>."""


def turns_of(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Role and text of each message, and what it says of tools.

    `developer` is what `system` is called by newer clients. Text parts are joined by a newline.
    Parts of other kinds never come here: the router keeps requests with images, audio or files
    away from models that take text.
    """
    return [_turn(message) for message in messages]


def _turn(message: Mapping[str, Any]) -> Turn:
    role = str(message.get("role", "user"))
    said = message.get("content") or message.get("refusal")
    turn: Turn = {"role": "system" if role == "developer" else role, "content": text_of(said)}
    calls = calls_in(message)
    if calls:
        turn["tool_calls"] = [_call(call) for call in calls]
    if role in ("tool", "function"):  # the older name of a result
        turn["role"] = "tool"
        turn |= {name: message[name] for name in ("tool_call_id", "name") if name in message}
    return turn


def calls_in(message: Mapping[str, Any]) -> list[Any]:
    """The calls of a message, the one that an older client writes as its `function_call` too."""
    calls, older = message.get("tool_calls"), message.get("function_call")
    listed = calls if isinstance(calls, list) else []
    return [*listed, {"function": older}] if older else listed


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its arguments as the object that templates write out; else as it was."""
    function = call["function"]
    arguments = function["arguments"]
    try:
        read = orjson.loads(arguments)
        orjson.dumps({"function": {"arguments": read}})
        arguments = read
    except (orjson.JSONDecodeError, TypeError):  # no JSON, or too deep to be written again
        pass
    told = {"name": function["name"], "arguments": arguments}
    return {"id": call.get("id"), "type": "function", "function": told}


def with_short_ids(turns: Sequence[Turn]) -> list[Turn]:
    """The same with the ids of calls made nine letters long, as Mistral's templates want them."""
    return [
        {
            **turn,
            **({"tool_calls": [_shortened(call, "id") for call in calls]} if calls else {}),
        }
        for turn in (_shortened(turn, "tool_call_id") for turn in turns)
        for calls in [turn.get("tool_calls")]
    ]


def _shortened(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    given = holder.get(name)
    if given is None and name not in holder:
        return dict(holder)
    return {**holder, name: sha256(str(given).encode()).hexdigest()[:9]}


def in_plain_text(turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """The same for a template that knows no tools: they are told of in the system's words."""
    plain: list[Turn] = []
    for turn in turns:
        role, text = turn["role"], turn["content"]
        if role == "tool":
            text = f"<tool_response>\n{text}\n</tool_response>"
            if plain and plain[-1].get("is_result"):
                plain[-1]["content"] += f"\n{text}"
                continue
            plain.append({"role": "user", "content": text, "is_result": True})
            continue
        calls = [
            f"{CALL_BEGINS}\n{_json(call['function'])}\n{CALL_ENDS}"
            for call in turn.get("tool_calls", ())
        ]
        plain.append({"role": role, "content": "\n".join([*([text] if text else []), *calls])})
    if tools:
        listed = "\n".join(_json(tool["function"]) for tool in tools)
        told = _TOOLS.format(tools=listed, begins=CALL_BEGINS, ends=CALL_ENDS)
        if plain and plain[0]["role"] == "system":
            plain[0]["content"] += f"\n\n{told}"
        else:
            plain.insert(0, {"role": "system", "content": told})
    return plain


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def text_of(content: object) -> str:
    """The text of a message's content: a string, parts of text or of a refusal, or nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part if isinstance(part, str) else _text_in(part) for part in content)
    return "\n".join(text for text in texts if isinstance(text, str))


def _text_in(part: Mapping[str, Any]) -> object:
    return part.get("refusal") if part.get("type") == "refusal" else part.get("text")
