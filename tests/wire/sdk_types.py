"""The vendors' own types; they check the names they know, and others pass or are told."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParams
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParams
from pydantic import BaseModel, TypeAdapter

MESSAGES_BODY = MessageCreateParams
CHAT_BODY = CompletionCreateParams
EVENT = RawMessageStreamEvent


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _drained(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drained(item) for key, item in value.items()}
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return value
    return [_drained(item) for item in value]


def check(kind: Any, value: Any) -> Any:
    """Raises pydantic's ValidationError; pydantic reads iterables lazily, so they are drained."""
    return _drained(_adapter(kind).validate_python(value))


def check_message(value: Any) -> Message:
    return Message.model_validate(value)


def check_completion(value: Any) -> ChatCompletion:
    return ChatCompletion.model_validate(value)


def check_chunks(values: list[dict[str, Any]]) -> Iterator[ChatCompletionChunk]:
    return (ChatCompletionChunk.model_validate(value) for value in values)


def unknown_members(kind: Any, raw: bytes) -> set[str]:
    """What JSON holds that its type doesn't know, such as `usage.cost`.

    Raises pydantic's ValidationError where it isn't, strictly, of that type.
    """
    return set(_unknown_in(_adapter(kind).validate_json(raw, strict=True)))


def _unknown_in(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from (path + name for name in value.model_extra or ())
        for name in type(value).model_fields:
            yield from _unknown_in(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for one in value:
            yield from _unknown_in(one, path)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _unknown_in(one, path)


def ended(text: bytes) -> bytes:
    """A text completion's event: OpenAI's one type for all has a reason even before the end."""
    return text.replace(b'"finish_reason":null', b'"finish_reason":"stop"')
