"""The cases hold every field that the vendors' SDKs know, deeper ones too."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

import pytest
from anthropic import types as anthropic
from anthropic.types.message_create_params import MessageCreateParamsBase
from openai.types import chat, responses
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsBase as ChatCreateParamsBase,
)
from openai.types.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from openai.types.responses.response_input_item_param import FunctionCallOutput
from openai.types.shared_params import Reasoning
from typing_extensions import get_type_hints, is_typeddict

from tests.compatibility.endpoints import ENDPOINTS

CASES = {
    endpoint.path: [endpoint.least, *((case.fields, case.beside) for case in endpoint.cases)]
    for endpoint in ENDPOINTS
}
KNOWN: dict[str, list[Any]] = {
    "/v1/chat/completions": [
        ChatCreateParamsBase,
        chat.ChatCompletionMessageParam,
        chat.ChatCompletionContentPartParam,
        chat.ChatCompletionStreamOptionsParam,
        chat.ChatCompletionToolUnionParam,
        chat.ChatCompletionToolChoiceOptionParam,
    ],
    "/v1/completions": [CompletionCreateParamsBase],
    "/v1/responses": [
        ResponseCreateParamsBase,
        responses.EasyInputMessageParam,
        responses.ResponseFunctionToolCallParam,
        FunctionCallOutput,
        responses.ResponseCustomToolCallParam,
        responses.ResponseCustomToolCallOutputParam,
        responses.ResponseInputContentParam,
        responses.ResponseTextConfigParam,
        Reasoning,
    ],
    "/v1/messages": [
        MessageCreateParamsBase,
        anthropic.MessageParam,
        anthropic.TextBlockParam,
        anthropic.ImageBlockParam,
        anthropic.DocumentBlockParam,
        anthropic.ThinkingBlockParam,
        anthropic.RedactedThinkingBlockParam,
        anthropic.ToolUseBlockParam,
        anthropic.ToolResultBlockParam,
        anthropic.MetadataParam,
        anthropic.OutputConfigParam,
        anthropic.ThinkingConfigParam,
        anthropic.ToolChoiceParam,
        anthropic.ToolParam,
    ],
}
#: What the vendors say of their own items, when those come back.
BOOKS = {"id", "status"}


def members_of(known: Any) -> set[str]:
    """The members of an SDK's object, or of every object that a union of them allows."""
    if get_origin(known) is Annotated:
        return members_of(get_args(known)[0])
    if is_typeddict(known):
        return set(get_type_hints(known))
    return {name for one in get_args(known) for name in members_of(one)}


def names_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from value
        yield from names_in([*value.values()])
    elif isinstance(value, list | tuple):
        for one in value:
            yield from names_in(one)


@pytest.mark.parametrize(
    ("path", "known"), [(path, known) for path, all_of in KNOWN.items() for known in all_of]
)
def test_every_field_that_the_sdk_knows_is_tried(path: str, known: Any) -> None:
    members = members_of(known)
    assert members
    assert members - set(names_in(CASES[path])) - BOOKS - {"model"} == set()
