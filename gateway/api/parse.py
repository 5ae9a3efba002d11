"""Bytes to a chat request: the known fields are checked, everything else is kept untouched."""

from __future__ import annotations

import math
from typing import Annotated, Any, NotRequired, TypeVar

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from starlette.types import Scope
from typing_extensions import TypedDict

from gateway.api.exchange import Exchange
from gateway.core.errors import InvalidRequest
from gateway.core.request import Caller, ChatRequest

LONGEST_NAME = 256
#: Messages, and content parts in all: routing looks at each, while other requests wait.
MOST_PARTS = 50_000
#: The most levels of objects and lists that orjson writes; it reads more.
MOST_LEVELS = 254
MAX_TAGS = 16
MAX_TAG_LENGTH = 64

Fields = TypeVar("Fields")

PERMISSIVE = ConfigDict(extra="ignore", strict=True)


# Without it a million wrong entries make a million errors, of which one is told.
FIRST_FAULT = Field(fail_fast=True)


ModelName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f]*$")]


@with_config(PERMISSIVE)
class _Message(TypedDict):
    role: Annotated[str, Field(min_length=1)]
    content: NotRequired[str | Annotated[list[str | dict[str, Any]], FIRST_FAULT] | None]


@with_config(PERMISSIVE)
class StreamOptions(TypedDict):
    """What a client wants of a stream."""

    include_usage: NotRequired[bool | None]


@with_config(PERMISSIVE)
class _ChatFields(TypedDict):
    """The fields that the gateway reads, with the ranges that OpenAI's reference gives."""

    model: ModelName
    messages: Annotated[list[_Message], Field(min_length=1, max_length=MOST_PARTS, fail_fast=True)]
    stream: NotRequired[bool | None]
    stream_options: NotRequired[StreamOptions | None]
    max_tokens: NotRequired[Annotated[int, Field(ge=1)] | None]
    max_completion_tokens: NotRequired[Annotated[int, Field(ge=1)] | None]
    temperature: NotRequired[Annotated[float, Field(ge=0, le=2)] | None]
    top_p: NotRequired[Annotated[float, Field(ge=0, le=1)] | None]
    presence_penalty: NotRequired[Annotated[float, Field(ge=-2, le=2)] | None]
    frequency_penalty: NotRequired[Annotated[float, Field(ge=-2, le=2)] | None]
    n: NotRequired[Annotated[int, Field(ge=1)] | None]
    seed: NotRequired[int | None]
    stop: NotRequired[str | Annotated[list[str], FIRST_FAULT] | None]
    tools: NotRequired[Annotated[list[dict[str, Any]], FIRST_FAULT] | None]
    response_format: NotRequired[dict[str, Any] | None]
    logprobs: NotRequired[bool | None]
    top_logprobs: NotRequired[Annotated[int, Field(ge=0)] | None]


CHAT_FIELDS: TypeAdapter[_ChatFields] = TypeAdapter(_ChatFields)


def parse_chat(body: bytes) -> ChatRequest:
    """Check a `/v1/chat/completions` body. Raises InvalidRequest naming the field at fault."""
    return chat_request(body, parse_object(body))


def chat_request(raw: bytes, payload: dict[str, Any], **origin: Any) -> ChatRequest:
    """Check a chat body (`payload` is `raw` parsed). Raises InvalidRequest naming the field.

    `origin` are further fields of the request: in which wire format it came, and where.
    """
    fields = checked(CHAT_FIELDS, payload)
    messages = payload["messages"]
    if len(raw) > MOST_PARTS:
        check_parts(messages)
    options = fields.get("stream_options")
    max_tokens = fields.get("max_completion_tokens")
    return ChatRequest(
        raw=raw,
        payload=payload,
        model=fields["model"],
        messages=messages,
        stream=bool(fields.get("stream")),
        include_usage=bool(options and options.get("include_usage")),
        max_tokens=fields.get("max_tokens") if max_tokens is None else max_tokens,
        **origin,
    )


def check_parts(messages: list[dict[str, Any]]) -> None:
    """Refuse messages of too many parts. Raises InvalidRequest."""
    contents = (message.get("content") for message in messages)
    parts = sum(len(content) for content in contents if isinstance(content, list))
    if parts > MOST_PARTS:
        raise InvalidRequest(
            f"'messages' must hold at most {MOST_PARTS} content parts.",
            param="messages",
            code="invalid_value",
        )


def checked(fields: TypeAdapter[Fields], payload: dict[str, Any]) -> Fields:
    """The fields that the gateway reads. Raises InvalidRequest naming the one at fault."""
    try:
        return fields.validate_python(payload)
    except ValidationError as error:
        raise _invalid(error) from None


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises InvalidRequest."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if not isinstance(payload, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    return payload


def check_depth(raw: bytes, payload: dict[str, Any], *, spare: int = 0) -> None:
    """Refuse what could be read and, `spare` levels deeper, not be written again: InvalidRequest.

    `payload` is `raw` parsed.
    """
    if raw.count(b"{") + raw.count(b"[") <= MOST_LEVELS - spare:
        return
    wrapped: Any = payload
    for _ in range(spare):
        wrapped = [wrapped]
    try:
        orjson.dumps(wrapped)
    except TypeError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_value") from None


def _invalid(error: ValidationError) -> InvalidRequest:
    """The first problem as one sentence, without echoing what the client sent."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = _param_of(problem["loc"])
    if problem["type"] == "missing":
        return InvalidRequest(f"The parameter '{param}' is missing.", param=param)
    if param == "messages" and problem["type"] == "too_short":
        return InvalidRequest(
            "'messages' must hold at least one message.", param=param, code="invalid_value"
        )
    reason = problem["msg"][:1].lower() + problem["msg"][1:]
    code = (
        "invalid_value"
        if problem["type"].endswith(("equal", "short", "long", "mismatch"))
        else "invalid_type"
    )
    return InvalidRequest(f"Invalid '{param}': {reason}.", param=param, code=code)


def _param_of(location: tuple[int | str, ...]) -> str:
    """`messages[0].role` from ("messages", 0, "role"); names of union branches are left out."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in {"str", "int", "float", "bool"}:
            path += f".{part}" if path else part
    return path


_CALLER_HEADERS = frozenset(
    {
        b"x-client-request-id",
        b"x-gateway-threshold",
        b"x-gateway-policy",
        b"x-gateway-session",
        b"x-gateway-tags",
        b"x-gateway-confidence",
        b"traceparent",
    }
)


def caller_of(scope: Scope, exchange: Exchange) -> Caller:
    """What the request's headers say. Raises InvalidRequest for a bad `x-gateway-*` header."""
    found = {name: value for name, value in reversed(scope["headers"]) if name in _CALLER_HEADERS}
    if not found:
        return Caller(exchange.request_id, exchange.key_id, key=exchange.key)
    texts = {name: value.decode("latin-1").strip() for name, value in found.items()}
    return Caller(
        request_id=exchange.request_id,
        key_id=exchange.key_id,
        client_request_id=_printable(texts.get(b"x-client-request-id"), 128),
        threshold=_threshold(texts.get(b"x-gateway-threshold")),
        policy=texts.get(b"x-gateway-policy"),
        session=_printable(texts.get(b"x-gateway-session"), 128),
        tags=_tags(texts.get(b"x-gateway-tags")),
        traceparent=_printable(texts.get(b"traceparent"), 128),
        wants_confidence=_switch(texts.get(b"x-gateway-confidence"), "x-gateway-confidence"),
        key=exchange.key,
    )


def _printable(value: str | None, longest: int) -> str | None:
    if value is None or not value:
        return None
    return "".join(char for char in value if char.isprintable())[:longest]


def _switch(value: str | None, header: str) -> bool:
    if value is None or value.lower() == "false":
        return False
    if value.lower() != "true":
        raise InvalidRequest(f"The header {header} must be true or false.", param=header)
    return True


def _threshold(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        threshold = float(value)
    except ValueError:
        threshold = math.nan
    if not 0 <= threshold <= 1:
        raise InvalidRequest(
            "The header x-gateway-threshold must be a number from 0 to 1.",
            param="x-gateway-threshold",
        )
    return threshold


def _tags(value: str | None) -> dict[str, str]:
    """`team=search,env=prod` as a mapping."""
    if not value:
        return {}
    tags: dict[str, str] = {}
    for pair in value.split(","):
        name, equals, content = pair.partition("=")
        name, content = name.strip(), content.strip()
        if not (name and equals) or len(name) > MAX_TAG_LENGTH or len(content) > MAX_TAG_LENGTH:
            raise InvalidRequest(
                "The header x-gateway-tags must be 'name=value' pairs separated by commas, "
                f"each part at most {MAX_TAG_LENGTH} characters.",
                param="x-gateway-tags",
            )
        tags[name] = content
    if len(tags) > MAX_TAGS:
        raise InvalidRequest(f"At most {MAX_TAGS} tags are kept.", param="x-gateway-tags")
    return tags
