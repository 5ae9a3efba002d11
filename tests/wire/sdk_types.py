"""The vendors' own types; they check the names they know and let others pass."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParams
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParams
from pydantic import TypeAdapter

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
