"""Backends as the configuration describes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.backends.anthropic import AnthropicBackend
from gateway.backends.http1 import Timeouts
from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.encoder_backend import LocalEncoder
from gateway.backends.openai import OpenAIBackend
from gateway.backends.openai_embeddings import MAX_EMBEDDINGS_BYTES, OpenAIEmbeddings
from gateway.core.interfaces import Backend
from gateway.settings import DeploymentSettings, Environment


def backend_of(
    entry: DeploymentSettings,
    environment: Environment,
    models_dir: Path,
    engine_sockets: Mapping[str, Path],
) -> Backend:
    """What answers for a deployment; nothing is opened yet."""
    if entry.backend == "local":
        socket_path = engine_sockets.get(entry.name)
        if entry.serves == "embeddings":
            return LocalEncoder(entry.model, models_dir=models_dir, socket_path=socket_path)
        return LocalBackend(
            entry.model, models_dir=models_dir, socket_path=socket_path, adapters=entry.adapters
        )
    upstream = _upstream(entry, environment)
    if entry.backend == "anthropic":
        return AnthropicBackend(
            **upstream,
            key_header=entry.api_key_header or "x-api-key",
            thinking=entry.thinking,
            default_max_tokens=entry.default_max_tokens,
        )
    upstream |= {
        "key_header": entry.api_key_header or "authorization",
        "max_tokens_field": entry.max_tokens_field,
        "stream_usage": entry.stream_usage,
        "cache_marks": entry.cache_marks,
    }
    if entry.serves == "embeddings":
        backend: OpenAIBackend = OpenAIEmbeddings(
            **upstream, max_response_bytes=MAX_EMBEDDINGS_BYTES
        )
    else:
        backend = OpenAIBackend(**upstream)
    backend.gpus = entry.gpus
    return backend


def _upstream(entry: DeploymentSettings, environment: Environment) -> dict[str, Any]:
    return {
        "base_url": entry.base_url or "",
        "api_key": environment.secret(entry.api_key_env) if entry.api_key_env else None,
        "timeouts": Timeouts(
            connect_s=entry.connect_timeout_s,
            first_byte_s=entry.timeout_s,
            idle_s=entry.idle_timeout_s,
            total_s=entry.total_timeout_s,
        ),
        "extra_headers": entry.extra_headers,
        "query": entry.query_parameters,
    }
