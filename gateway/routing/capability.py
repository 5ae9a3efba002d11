"""The capability filter: which deployments can serve a request, and why the others can't."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.core.decision import Exclusion
from gateway.core.deployment import Capability, Deployment
from gateway.core.interfaces import TokenCounter
from gateway.core.request import ChatRequest
from gateway.routing.conversation import Conversation, text_of
from gateway.routing.language import language_of

#: The request fields that may ask for a capability, for the client's error message.
FIELDS_OF = {
    Capability.TOOLS: ("tools", "functions", "messages"),
    Capability.JSON_SCHEMA: ("response_format",),
    Capability.JSON_OBJECT: ("response_format",),
    Capability.VISION: ("messages",),
    Capability.AUDIO: ("audio", "modalities", "messages"),
    Capability.FILES: ("messages",),
    Capability.LOGPROBS: ("logprobs", "top_logprobs"),
    Capability.MULTIPLE_CHOICES: ("n",),
}

#: A token is never longer than this on average over a long text, in any tokenizer we know: text
#: longer than `context_window` times this surely doesn't fit.
MOST_BYTES_PER_TOKEN = 16

_PARTS = {
    "image_url": Capability.VISION,
    "input_image": Capability.VISION,
    "input_audio": Capability.AUDIO,
    "file": Capability.FILES,
    "input_file": Capability.FILES,
}


def needs_of(request: ChatRequest) -> frozenset[Capability]:
    """What the request needs beyond text in and text out."""
    return frozenset(_needs(request.payload, request.messages))


def _needs(
    payload: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]
) -> Iterator[Capability]:
    if payload.get("tools") or payload.get("functions"):
        yield Capability.TOOLS
    response_format = payload.get("response_format")
    if isinstance(response_format, Mapping):
        kind = response_format.get("type") or "text"
        if kind == "json_object":
            yield Capability.JSON_OBJECT
        elif kind != "text":
            yield Capability.JSON_SCHEMA
    if payload.get("logprobs") or payload.get("top_logprobs"):
        yield Capability.LOGPROBS
    if (payload.get("n") or 1) > 1:
        yield Capability.MULTIPLE_CHOICES
    modalities = payload.get("modalities")
    if payload.get("audio") or (isinstance(modalities, list) and "audio" in modalities):
        yield Capability.AUDIO
    for message in messages:
        yield from _message_needs(message)


def _message_needs(message: Mapping[str, Any]) -> Iterator[Capability]:
    content = message.get("content")
    if isinstance(content, list):
        yield from _part_needs(content)
    if message.get("tool_calls") or message.get("function_call"):
        yield Capability.TOOLS
    if message.get("role") in {"tool", "function"}:
        yield Capability.TOOLS
    if message.get("audio"):
        yield Capability.AUDIO


def _part_needs(parts: Iterable[object]) -> Iterator[Capability]:
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if isinstance(kind, str) and kind in _PARTS:
            yield _PARTS[kind]


def _field_of(need: Capability, request: ChatRequest) -> str:
    *others, last = FIELDS_OF[need]
    return next((name for name in others if request.payload.get(name)), last)


def _is_neutral(name: str, value: object) -> bool:
    """Whether a field asks for nothing, as null, false, 0 and an empty object do."""
    if name in {"seed", "web_search_options"}:  # a seed of 0 is one, and {} asks for a search
        return value is None
    if name == "modalities":
        return not value or value == ["text"]
    return not value and value != ""


@dataclass(slots=True, frozen=True)
class CapabilityFilter:
    """Checks deployments against a request.

    `counters` gives, by deployment name, the model's own tokenizer where it is known.
    `reserved_output_tokens` are kept free where the client names no limit. `unsupported` names, by
    deployment name, the place in a request that a backend has no words for.
    """

    counters: Mapping[str, TokenCounter]
    reserved_output_tokens: int
    unsupported: Mapping[str, Callable[[ChatRequest], str | None]] = field(default_factory=dict)

    def exclusion(
        self, deployment: Deployment, request: ChatRequest, needs: frozenset[Capability]
    ) -> Exclusion | None:
        """Why the deployment can't serve the request; None where it can."""
        if deployment.unavailable is not None:
            return Exclusion(deployment, "unavailable", deployment.unavailable)
        for need in Capability:
            if need in needs and need not in deployment.capabilities:
                return Exclusion(deployment, f"needs_{need.value}", _field_of(need, request))
        if (excluded := self._field_exclusion(deployment, request)) is not None:
            return excluded
        if deployment.languages is not None:
            language = language_of(Conversation(request.messages).question)
            if language is not None and language not in deployment.languages:
                return Exclusion(deployment, "needs_language", language)
        wanted = request.max_tokens
        most = deployment.max_output_tokens
        if wanted is not None and most is not None and wanted > most:
            return Exclusion(deployment, "output_too_long", f"{most} tokens at most")
        return self._context_exclusion(deployment, request)

    def _field_exclusion(self, deployment: Deployment, request: ChatRequest) -> Exclusion | None:
        """The field of the request, if any, that this deployment's backend can't honour."""
        if request.native_only is not None and request.wire not in deployment.wires:
            return Exclusion(deployment, f"needs_{request.wire}_api", request.native_only)
        for name in deployment.refused_fields:
            if name in request.payload and not _is_neutral(name, request.payload[name]):
                return Exclusion(deployment, "unsupported_field", name)
        unsupported_in = self.unsupported.get(deployment.name)
        place = None if unsupported_in is None else unsupported_in(request)
        return None if place is None else Exclusion(deployment, "unsupported_field", place)

    def _context_exclusion(self, deployment: Deployment, request: ChatRequest) -> Exclusion | None:
        window = deployment.context_window
        if window is None:
            return None
        reserved = request.max_tokens or min(self.reserved_output_tokens, window // 2)
        limit = window - reserved
        counter = self.counters.get(deployment.name)
        if counter is not None:
            too_long = limit <= 0 or counter.exceeds(
                request.messages, limit, _tools_of(request.payload)
            )
        else:
            too_long = limit <= 0 or _surely_longer(request, limit)
        if not too_long:
            return None
        detail = f"more than {max(limit, 0)} tokens beside {reserved} for the answer"
        return Exclusion(deployment, "context_too_long", detail)


def _tools_of(payload: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The tools that the prompt tells of."""
    return () if payload.get("tool_choice") == "none" else payload.get("tools") or ()


def _surely_longer(request: ChatRequest, limit: int) -> bool:
    if len(request.raw) <= limit * MOST_BYTES_PER_TOKEN:
        return False
    size = sum(len(text_of(message.get("content")).encode()) for message in request.messages)
    return size > limit * MOST_BYTES_PER_TOKEN
