"""Anthropic's `usage` as token counts in our own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.core.usage import Usage
from gateway.wire.anthropic_answer import chat_usage


def usage_of(usage: object) -> Usage | None:
    """The counts of a Messages `usage` object; None where it is none, 0 for a malformed count."""
    if not isinstance(usage, dict):
        return None
    counts = {
        key: value
        for key, value in usage.items()
        if isinstance(value, int | dict) or key in {"service_tier", "speed"}
    }
    if not isinstance(counts.get("output_tokens_details"), dict):
        counts.pop("output_tokens_details", None)
    try:
        return translated_usage_of(chat_usage(counts))
    except TypeError:  # a count that is an object
        return None


def translated_usage_of(usage: Mapping[str, Any]) -> Usage:
    """The counts of a `usage` that `chat_usage` has made: it keeps what chat has no word for."""
    creation = usage.get("cache_creation")
    for_an_hour = creation.get("ephemeral_1h_input_tokens") if isinstance(creation, dict) else None
    return replace(
        Usage.from_wire(usage),
        cache_write_1h_tokens=max(0, for_an_hour) if isinstance(for_an_hour, int) else 0,
    )
