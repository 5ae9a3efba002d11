"""The fields of a request that aren't its conversation: limits, sampling, thinking, tool choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from gateway.wire.json_objects import Json, mapping_at, object_at, objects_at, text_at, without

#: Anthropic's range of temperatures ends here, OpenAI's at 2.
MAX_TEMPERATURE = 1.0
#: The fewest tokens that Anthropic lets a model think.
MIN_THINKING_TOKENS = 1024
#: Tokens of thinking for each effort; read back, a budget is the least effort that covers it.
THINKING_TOKENS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24576, "xhigh": 32768}

_CHAT_ONLY = frozenset(
    [
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "metadata",
        "modalities",
        "moderation",
        "n",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "seed",
        "store",
        "stream_options",
        "top_logprobs",
        "verbosity",
        "web_search_options",
    ]
)
_CHAT_TRANSLATED = frozenset(
    [
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "temperature",
        "user",
        "safety_identifier",
        "reasoning_effort",
        "response_format",
        "service_tier",
    ]
)
_MESSAGES_TRANSLATED = frozenset(
    [
        "model",
        "system",
        "messages",
        "tools",
        "tool_choice",
        "stop_sequences",
        "metadata",
        "thinking",
        "output_config",
        "service_tier",
        # Anthropic's alone: where they ask for anything, no chat can.
        "container",
        "context_management",
        "mcp_servers",
    ]
)
_TIERS = {"auto": "auto", "default": "standard_only"}
_CHAT_TIERS = {tier: name for name, tier in _TIERS.items()}
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_CHAT_CHOICES = {choice: name for name, choice in _CHOICES.items()}


def messages_options(
    chat: Mapping[str, Any],
    *,
    default_max_tokens: int,
    thinking: Literal["adaptive", "budget"],
    may_think: bool,
) -> Json:
    """Everything of a Messages body but its model, conversation and tools."""
    options = without(chat, *_CHAT_ONLY, *_CHAT_TRANSLATED)
    limit = chat.get("max_completion_tokens") or chat.get("max_tokens")
    stop = chat.get("stop")
    stops = stop if isinstance(stop, list) else [stop]
    if stops := [text for text in stops if isinstance(text, str) and text]:
        options["stop_sequences"] = stops
    if (temperature := chat.get("temperature")) is not None:
        options["temperature"] = min(temperature, MAX_TEMPERATURE)
    if user := chat.get("user") or chat.get("safety_identifier"):
        options["metadata"] = {"user_id": user}
    if tier := _TIERS.get(str(chat.get("service_tier"))):
        options["service_tier"] = tier
    _add_schema(options, chat.get("response_format"))
    options["max_tokens"] = limit or default_max_tokens
    effort = chat.get("reasoning_effort")
    if isinstance(effort, str) and "thinking" not in options:
        _add_thinking(options, effort, thinking, has_limit=bool(limit), may_think=may_think)
    return options


def _add_schema(options: Json, response_format: object) -> None:
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        named = object_at(response_format.get("json_schema"), "response_format.json_schema")
        schema = mapping_at(named.get("schema"), "response_format.json_schema.schema")
        output = options.get("output_config") or {}
        options["output_config"] = {**output, "format": {"type": "json_schema", "schema": schema}}


def _add_thinking(
    options: Json,
    effort: str,
    thinking: Literal["adaptive", "budget"],
    *,
    has_limit: bool,
    may_think: bool,
) -> None:
    """Thinking allows no temperature, top_k or forced tool; the limit holds it and the answer."""
    if effort == "none":
        options["thinking"] = {"type": "disabled"}
        return
    if thinking == "adaptive":
        output = options.get("output_config") or {}
        options["output_config"] = {"effort": "low" if effort == "minimal" else effort, **output}
        if not may_think:
            return
        options["thinking"] = {"type": "adaptive"}
    else:
        tokens = THINKING_TOKENS.get(effort, THINKING_TOKENS["xhigh"])
        if not has_limit:
            options["max_tokens"] += tokens
        tokens = min(tokens, options["max_tokens"] - 1)
        if tokens < MIN_THINKING_TOKENS or not may_think:
            return
        options["thinking"] = {"type": "enabled", "budget_tokens": tokens}
    options.pop("temperature", None)
    options.pop("top_k", None)


def messages_tool_choice(chat: Mapping[str, Any], tools: list[Json]) -> Json:
    """Anthropic's `tool_choice`; empty where none is to be sent. `allowed_tools` thins `tools`."""
    if not tools:
        return {}
    asked = chat.get("tool_choice")
    if asked is None or isinstance(asked, str):
        choice: Json = {"type": _CHOICES.get(asked, asked)} if asked else {}
    elif object_at(asked, "tool_choice").get("type") == "allowed_tools":
        choice = _allowed(object_at(asked.get("allowed_tools"), "tool_choice.allowed_tools"), tools)
    elif "function" in asked:
        function = object_at(asked["function"], "tool_choice.function")
        choice = {"type": "tool", "name": text_at(function, "name", "tool_choice.function")}
    else:
        choice = dict(asked)
    if chat.get("parallel_tool_calls") is False and choice.get("type") != "none":
        return {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return choice


def _allowed(allowed: Json, tools: list[Json]) -> Json:
    listed = objects_at(allowed.get("tools"), "tool_choice.allowed_tools.tools")
    param = "tool_choice.allowed_tools.tools.function"
    names = {text_at(object_at(tool.get("function"), param), "name", param) for tool in listed}
    tools[:] = [tool for tool in tools if tool.get("name") in names]
    return {"type": "any" if allowed.get("mode") == "required" else "auto"}


def chat_options(messages: Mapping[str, Any]) -> Json:
    """Everything of a chat body but its model, conversation and tools."""
    options = without(messages, *_MESSAGES_TRANSLATED)
    if stops := messages.get("stop_sequences"):
        options["stop"] = stops
    metadata = mapping_at(messages.get("metadata") or {}, "metadata")
    if user := metadata.get("user_id"):
        options["user"] = user
    if others := without(metadata, "user_id"):
        options["metadata"] = others
    if (tier := messages.get("service_tier")) is not None:
        options["service_tier"] = _CHAT_TIERS.get(str(tier), tier)
    if messages.get("stream"):
        options["stream_options"] = {"include_usage": True}
    output = object_at(messages.get("output_config") or {}, "output_config")
    thinking = object_at(messages.get("thinking") or {}, "thinking")
    if effort := _effort(thinking, output):
        options["reasoning_effort"] = effort
    if thinking and not _says_it_all(thinking, output):
        options["thinking"] = thinking
    if (wanted := output.get("format")) is not None:
        schema = _schema_in(object_at(wanted, "output_config.format"))
        named = {"name": "answer", "schema": schema, "strict": True}
        options["response_format"] = {"type": "json_schema", "json_schema": named}
    if rest := without(output, "effort", "format"):
        options["output_config"] = rest
    return options


def _schema_in(wanted: Json) -> Json:
    """Of another format only Anthropic knows what it holds."""
    if wanted.get("type") != "json_schema":
        return {}
    return mapping_at(wanted.get("schema"), "output_config.format.schema")


def _effort(thinking: Json, output: Json) -> str | None:
    """None leaves it to the model, as adaptive thinking without an effort does."""
    if thinking.get("type") == "disabled":
        return "none"
    if isinstance(output.get("effort"), str):
        effort: str = output["effort"]
        return effort
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int):
        return None
    return next((name for name, most in THINKING_TOKENS.items() if budget <= most), "xhigh")


def _says_it_all(thinking: Json, output: Json) -> bool:
    """Whether an effort is all that is asked of the thinking."""
    has_effort = isinstance(output.get("effort"), str)
    match thinking.get("type"):
        case "disabled":
            return thinking.keys() == {"type"}
        case "adaptive":
            return has_effort and thinking.keys() == {"type"}
        case "enabled":
            return not has_effort and thinking.keys() == {"type", "budget_tokens"}
        case _:
            return False


def chat_tool_choice(messages: Mapping[str, Any]) -> Json:
    """The chat body's `tool_choice` and `parallel_tool_calls`, as far as they are set."""
    if messages.get("tool_choice") is None:
        return {}
    choice = object_at(messages["tool_choice"], "tool_choice")
    chosen: Json = {}
    if choice.get("type") == "tool":
        name = text_at(choice, "name", "tool_choice")
        chosen["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif choice.get("type") in _CHAT_CHOICES:
        chosen["tool_choice"] = _CHAT_CHOICES[choice["type"]]
    elif choice:
        chosen["tool_choice"] = without(choice, "disable_parallel_tool_use")
    if choice.get("disable_parallel_tool_use"):
        chosen["parallel_tool_calls"] = False
    return chosen
