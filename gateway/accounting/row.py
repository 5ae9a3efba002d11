"""A ledger entry as a database row of bounded size, and a row as users read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.accounting.database import SPECIAL_TOKENS, iso_z, ledger
from gateway.accounting.pricing import pico_of, usd_text_of
from gateway.core.entry import LedgerEntry
from gateway.core.usage import Usage

#: The columns of a row as users read it; plain strings, where SQLAlchemy's names are not.
COLUMNS = tuple(
    "cost_usd" if column.name == "cost_pico" else str(column.name) for column in ledger.columns
)

#: A row of nothing, under which one that an older version has spooled is whole.
EMPTY_ROW: dict[str, Any] = dict.fromkeys((*map(str, ledger.columns.keys()), "messages"))

#: The most UTF-8 bytes kept of each text: together with the numbers a row stays under 1 KB.
_TEXT_BYTES = {
    "request_id": 48,
    "key_id": 40,
    "session": 48,
    "endpoint": 32,
    "model_requested": 80,
    "deployment": 128,
    "model_served": 80,
    "tier": 8,
    "reason": 24,
    "router_version": 20,
    "outcome": 16,
    "usage_source": 12,
    "cost_source": 12,
    "price_id": 72,
    "energy_source": 20,
    "client_request_id": 48,
    "policy": 32,
    "shadow_version": 20,
    "service_tier": 16,
}
_TEXT_LIMITS = tuple(_TEXT_BYTES.items())
_TAGS_BYTES = 160

#: What a 32-bit column holds; a larger count can only be an upstream's mistake.
_MAX_COUNT = 2**31 - 1


def row_of(entry: LedgerEntry) -> dict[str, Any]:
    """The row of an entry: texts cut to size, costs in pico-USD, tags as JSON text, `ts` with Z.

    `messages` stands beside the columns, for a table of its own. Every value is one that JSON has.
    """
    usage, cost, sure = entry.usage, entry.cost, entry.certainty
    prompt_tokens = None if usage is None else _count(usage.prompt_tokens)
    row: dict[str, Any] = {
        "request_id": entry.request_id,
        "attempt": entry.attempt,
        "ts": iso_z(entry.ts),
        "key_id": entry.key_id,
        "session": entry.session,
        "endpoint": entry.endpoint,
        "model_requested": entry.model_requested,
        "deployment": entry.deployment,
        "model_served": entry.model_served,
        "tier": entry.tier,
        "score": entry.score,
        "threshold": entry.threshold,
        "reason": entry.reason,
        "router_version": entry.router_version,
        "propensity": entry.propensity,
        "outcome": entry.outcome,
        "status": entry.status,
        "stream": entry.stream,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": None if usage is None else _count(usage.completion_tokens),
        "cached_tokens": None
        if usage is None
        else min(_count(usage.cached_tokens), prompt_tokens or 0),
        "reasoning_tokens": None if usage is None else _count(usage.reasoning_tokens),
        "usage_source": None if usage is None else usage.source,
        "cost_pico": None if cost.usd is None else pico_of(cost.usd),
        "cost_source": cost.source,
        "price_id": cost.price_id,
        "energy_wh": entry.energy_wh,
        "energy_source": entry.energy_source,
        "latency_ms": entry.latency_ms,
        "ttft_ms": entry.ttft_ms,
        "overhead_ms": entry.overhead_ms,
        "tags": _tags_text(entry.tags),
        "client_request_id": entry.client_request_id,
        "policy": entry.policy,
        "confidence": entry.confidence,
        "shadow_version": entry.shadow_version,
        "shadow_score": entry.shadow_score,
        "cache_write_tokens": None if usage is None else _count(usage.cache_write_tokens),
        "audio_input_tokens": None if usage is None else _count(usage.audio_input_tokens),
        "audio_output_tokens": None if usage is None else _count(usage.audio_output_tokens),
        "mean_logprob": None if sure is None else sure.mean_logprob,
        "min_logprob": None if sure is None else sure.min_logprob,
        "first_token_entropy": None if sure is None else sure.first_token_entropy,
        "first_token_margin": None if sure is None else sure.first_token_margin,
        "co2_g": entry.co2_g,
        "cache_write_1h_tokens": None if usage is None else _count(usage.cache_write_1h_tokens),
        "image_input_tokens": None if usage is None else _count(usage.image_input_tokens),
        "image_output_tokens": None if usage is None else _count(usage.image_output_tokens),
        "searches": None if usage is None else _count(usage.searches),
        "service_tier": None if usage is None else usage.service_tier,
        "messages": entry.messages,
    }
    for name, limit in _TEXT_LIMITS:
        value = row[name]
        # Most texts fit as they are, and this runs for every column of every row.
        if value is None or (len(value) <= limit and value.isascii() and "\0" not in value):
            continue
        row[name] = _text(value, limit)
    return row


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for users, in the order of `COLUMNS`: exact `cost_usd`, `ts` with Z, tags parsed."""
    pico = row["cost_pico"]
    cost_usd = None if pico is None else usd_text_of(pico)
    seen = {**row, "cost_usd": cost_usd, "ts": iso_z(row["ts"]), "tags": json.loads(row["tags"])}
    return {name: seen[name] for name in COLUMNS}


def usage_in(row: Any) -> Usage:
    """The counts that a row, or the sum of several, tells of; null ones are 0."""
    special: dict[str, Any] = {name: int(getattr(row, name) or 0) for name in SPECIAL_TOKENS}
    return Usage(int(row.prompt_tokens or 0), int(row.completion_tokens or 0), **special)


def tag_text(key: str, value: str) -> str:
    """How one tag is spelt inside the `tags` column; no other tag's text contains it."""
    return f"{json.dumps(key, ensure_ascii=False)}:{json.dumps(value, ensure_ascii=False)}"


def tag_pair(text: str) -> tuple[str, str]:
    """A tag as users write it, `key=value`, in its two parts."""
    key, _, value = text.partition("=")
    return key, value


def _tags_text(tags: Mapping[str, str]) -> str:
    """The tags as a JSON object, as many whole ones as fit."""
    kept: list[str] = []
    room = _TAGS_BYTES - 2
    for key, value in tags.items():
        text = tag_text(_text(key, _TAGS_BYTES), _text(value, _TAGS_BYTES))
        room -= len(text.encode()) + 1
        if room < 0:
            break
        kept.append(text)
    return "{" + ",".join(kept) + "}"


def _text(value: str, limit: int) -> str:
    """A text that any database takes: no NUL, no lone surrogate, at most `limit` UTF-8 bytes."""
    whole = value[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")
    return whole[:limit].decode("utf-8", "ignore")


def _count(tokens: int) -> int:
    return min(max(tokens, 0), _MAX_COUNT)
