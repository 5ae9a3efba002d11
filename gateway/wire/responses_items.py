"""Items of the Responses API as chat messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.core.errors import InvalidRequest

Json = dict[str, Any]

# Tuples: what a client sends may have no hash.
_ROLES = ("user", "assistant", "system", "developer")
_TEXTS = ("input_text", "output_text")
#: Kept through the whole call, since chat parts have it too.
_BREAKPOINT = "prompt_cache_breakpoint"


def input_items(value: object) -> list[Json]:
    """The `input` of a request as a list of items. Raises InvalidRequest."""
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if not isinstance(value, list):
        raise invalid("a string or a list of items", "input")
    return value


def messages_of(items: Iterable[Any], path: str) -> list[Json]:
    """Items as chat messages; `path` names the list in errors. Raises InvalidRequest.

    What the model said in one turn (a text, its calls) becomes one assistant message. Reasoning
    is left out: a chat request has no place for it.
    """
    messages: list[Json] = []
    for index, item in enumerate(items):
        where = f"{path}[{index}]"
        if not isinstance(item, Mapping):
            raise invalid("an object", where)
        kind = item.get("type") or ("message" if "role" in item else None)
        add = _ITEMS.get(kind) if isinstance(kind, str) else None
        if add is None:
            raise unsupported(f"Items of type {_shown(kind)} are not supported.", f"{where}.type")
        add(messages, item, where)
    return messages


def invalid(expected: str, param: str) -> InvalidRequest:
    """The error for a value that isn't what it should be."""
    return InvalidRequest(f"'{param}' must be {expected}.", param=param, code="invalid_type")


def unsupported(message: str, param: str) -> InvalidRequest:
    """The error for a value that OpenAI's own API takes and this one doesn't."""
    return InvalidRequest(message, param=param, code="unsupported_value")


def text_field(item: Mapping[str, Any], name: str, where: str) -> str:
    """A string that must be there. Raises InvalidRequest."""
    value = item.get(name)
    if not isinstance(value, str):
        raise invalid("a string", f"{where}.{name}")
    return value


def _shown(kind: object) -> str:
    return f"'{kind[:64]}'" if isinstance(kind, str) else "null"


def _add_message(messages: list[Json], item: Mapping[str, Any], where: str) -> None:
    role = text_field(item, "role", where)
    if role not in _ROLES:
        raise InvalidRequest(
            f"'{where}.role' must be one of user, assistant, system and developer.",
            param=f"{where}.role",
            code="invalid_value",
        )
    content = item.get("content")
    if role != "assistant":
        messages.append({"role": role, "content": _content(content, f"{where}.content")})
        return
    said = _said(content, f"{where}.content")
    turn = _open_turn(messages)
    if turn is not None and "tool_calls" in turn and turn["content"] is None:
        turn.update(said)
    else:
        messages.append({"role": "assistant", **said})


def _said(content: object, where: str) -> Json:
    """An assistant's `content`, and its `refusal` where there is one."""
    if isinstance(content, str):
        return {"content": content}
    texts, refusals = [], []
    for index, part in enumerate(_parts(content, where)):
        at = f"{where}[{index}]"
        if part.get("type") == "refusal":
            refusals.append(text_field(part, "refusal", at))
        elif part.get("type") in _TEXTS:
            texts.append(text_field(part, "text", at))
        else:
            raise _unknown_part(part, at)
    said: Json = {"content": "".join(texts) if texts or not refusals else None}
    if refusals:
        said["refusal"] = "".join(refusals)
    return said


def _content(content: object, where: str) -> str | list[Json]:
    if isinstance(content, str):
        return content
    parts = [_part(part, f"{where}[{index}]") for index, part in enumerate(_parts(content, where))]
    # A lone text is the form that every upstream reads.
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def _parts(content: object, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(content, list):
        raise invalid("a string or a list of content parts", where)
    for index, part in enumerate(content):
        if not isinstance(part, Mapping):
            raise invalid("an object", f"{where}[{index}]")
    return content


def _part(part: Mapping[str, Any], where: str) -> Json:
    kind = part.get("type")
    if kind in _TEXTS:
        made: Json = {"type": "text", "text": text_field(part, "text", where)}
    elif kind == "input_image":
        made = {"type": "image_url", "image_url": _image(part, where)}
    elif kind == "input_file":
        made = {"type": "file", "file": _file(part, where)}
    elif kind == "input_audio":
        if not isinstance(part.get("input_audio"), Mapping):
            raise invalid("an object", f"{where}.input_audio")
        made = {"type": "input_audio", "input_audio": part["input_audio"]}
    else:
        raise _unknown_part(part, where)
    if part.get(_BREAKPOINT) is not None:
        made[_BREAKPOINT] = part[_BREAKPOINT]
    return made


def _unknown_part(part: Mapping[str, Any], where: str) -> InvalidRequest:
    shown = _shown(part.get("type"))
    return unsupported(f"Content parts of type {shown} are not supported here.", f"{where}.type")


def _image(part: Mapping[str, Any], where: str) -> Json:
    if part.get("file_id") is not None:
        raise unsupported(
            "Images of uploaded files are not supported; send 'image_url'.", f"{where}.file_id"
        )
    image = {"url": text_field(part, "image_url", where)}
    if part.get("detail") is not None:
        image["detail"] = part["detail"]
    return image


def _file(part: Mapping[str, Any], where: str) -> Json:
    if part.get("file_url") is not None:
        raise unsupported(
            "Files by address are not supported; send 'file_data'.", f"{where}.file_url"
        )
    names = ("file_data", "file_id", "filename")
    file = {name: part[name] for name in names if part.get(name) is not None}
    if not {"file_data", "file_id"} & file.keys():
        raise invalid("a string", f"{where}.file_data")
    return file


def _open_turn(messages: list[Json]) -> Json | None:
    """The assistant's message that ends the list, if one does."""
    return messages[-1] if messages and messages[-1]["role"] == "assistant" else None


def _add_call(messages: list[Json], call: Json) -> None:
    turn = _open_turn(messages)
    if turn is None:
        turn = {"role": "assistant", "content": None}
        messages.append(turn)
    turn.setdefault("tool_calls", []).append(call)


def _add_function_call(messages: list[Json], item: Mapping[str, Any], where: str) -> None:
    function = {name: text_field(item, name, where) for name in ("name", "arguments")}
    call_id = text_field(item, "call_id", where)
    _add_call(messages, {"id": call_id, "type": "function", "function": function})


def _add_custom_call(messages: list[Json], item: Mapping[str, Any], where: str) -> None:
    custom = {name: text_field(item, name, where) for name in ("name", "input")}
    call_id = text_field(item, "call_id", where)
    _add_call(messages, {"id": call_id, "type": "custom", "custom": custom})


def _add_output(messages: list[Json], item: Mapping[str, Any], where: str) -> None:
    messages.append(
        {
            "role": "tool",
            "tool_call_id": text_field(item, "call_id", where),
            "content": _content(item.get("output"), f"{where}.output"),
        }
    )


def _leave_out(_messages: list[Json], _item: Mapping[str, Any], _where: str) -> None:
    pass


_ITEMS: dict[str, Callable[[list[Json], Mapping[str, Any], str], None]] = {
    "message": _add_message,
    "function_call": _add_function_call,
    "function_call_output": _add_output,
    "custom_tool_call": _add_custom_call,
    "custom_tool_call_output": _add_output,
    "reasoning": _leave_out,
}
