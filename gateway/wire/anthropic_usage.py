"""Anthropic's `usage` as token counts in our own words."""

from __future__ import annotations

from dataclasses import replace

from gateway.core.usage import Usage
from gateway.wire.anthropic_answer import chat_usage


def usage_of(usage: object) -> Usage | None:
    """The counts of a Messages `usage` object; None where it is none, 0 for a malformed count."""
    if not isinstance(usage, dict):
        return None
    counts = {key: value for key, value in usage.items() if isinstance(value, int | dict)}
    creation = counts.get("cache_creation")
    for_an_hour = creation.get("ephemeral_1h_input_tokens") if isinstance(creation, dict) else None
    details = counts.get("output_tokens_details")
    if not isinstance(details, dict):
        counts.pop("output_tokens_details", None)
    try:
        read = Usage.from_wire(chat_usage(counts))
    except TypeError:  # a count that is an object
        return None
    return replace(read, cache_write_1h_tokens=for_an_hour if isinstance(for_an_hour, int) else 0)
