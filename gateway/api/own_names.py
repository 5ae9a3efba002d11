"""What the places of a chat are called in the API that the client speaks."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core.request import Wire

_MESSAGES = {
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "messages[].is_error": "messages[].content[].is_error",
    "messages[].tool_calls[].caller": "messages[].content[].caller",
    "messages[].tool_calls[].toolset_name": "messages[].content[].toolset_name",
    "messages[].toolset_name": "messages[].content[].toolset_name",
    "messages[].thinking_blocks": "messages[].content[].thinking",
}
_RESPONSES = {
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "messages[].content[].image_url.detail": "input[].content[].detail",
    "messages[].content[].prompt_cache_breakpoint": "input[].content[].prompt_cache_breakpoint",
}
_NAMES: Mapping[Wire, Mapping[str, str]] = {"messages": _MESSAGES, "responses": _RESPONSES}


def own_names(places: tuple[str, ...], wire: Wire, native: bytes | None = None) -> tuple[str, ...]:
    """Places in the chat that a request became, by the names that they had in it."""
    names = dict(_NAMES.get(wire, {}))
    if wire == "messages":
        # Chat's one word for two of Anthropic's.
        is_effort = native is not None and b'"effort"' in native
        names["reasoning_effort"] = "output_config.effort" if is_effort else "thinking"
    return tuple(dict.fromkeys(names.get(place, place) for place in places))


def in_messages_words(message: str, param: object) -> str:
    """An error's message about a field of a chat, in the words of the Messages API."""
    own = _MESSAGES.get(param) if isinstance(param, str) else None
    if own is None:
        return message
    return message.replace(f"({param})", f"({own})").replace(f"'{param}'", f"'{own}'")
