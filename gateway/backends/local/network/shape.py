"""The dimensions of a model of the Llama kind, as its configuration states them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

#: Families that are Llama's network under another name, each with whether its attention has
#: biases and whether its matrices are stored joined.
_FAMILIES = frozenset({"llama", "mistral", "qwen2", "phi3"})


class OtherNetwork(Exception):
    """The configuration asks for something that this forward pass doesn't do."""


@dataclass(slots=True, frozen=True)
class LlamaShape:
    """RMSNorm, rotary positions, grouped queries, SwiGLU.

    `frequencies` has shape (head_size / 2,), in radians a token.
    """

    layers: int
    hidden: int
    heads: int
    key_heads: int
    head_size: int
    epsilon: float
    is_tied: bool
    frequencies: torch.Tensor

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LlamaShape:
        """The shape that a `config.json` states. Raises OtherNetwork."""
        kind = config.get("model_type")
        if kind not in _FAMILIES:
            raise OtherNetwork(f"the family {kind} is none of {sorted(_FAMILIES)}")
        if config.get("hidden_act", "silu") != "silu":
            raise OtherNetwork(f"the activation is {config['hidden_act']}")
        if config.get("quantization_config"):
            raise OtherNetwork("the weights are stored in another way")
        if _slides(config):
            raise OtherNetwork("attention looks back over a sliding window")
        heads = config["num_attention_heads"]
        size = config.get("head_dim") or config["hidden_size"] // heads
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            heads=heads,
            key_heads=config.get("num_key_value_heads") or heads,
            head_size=size,
            epsilon=config.get("rms_norm_eps", 1e-6),
            is_tied=bool(config.get("tie_word_embeddings", False)),
            frequencies=_frequencies(config, size),
        )


def _slides(config: Mapping[str, Any]) -> bool:
    window = config.get("sliding_window")
    if window is None or not config.get("use_sliding_window", True):
        return False
    return bool(window < config.get("max_position_embeddings", window + 1))


def _frequencies(config: Mapping[str, Any], size: int) -> torch.Tensor:
    """Rotary frequencies: plain ones, or stretched as Llama 3.1 does. Raises OtherNetwork."""
    stated = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = stated.get("rope_type") or stated.get("type") or "default"
    if kind not in {"default", "linear", "llama3"} or stated.get("partial_rotary_factor", 1) != 1:
        raise OtherNetwork(f"the rotary positions are of the kind {kind}")
    if config.get("partial_rotary_factor", 1) != 1:
        raise OtherNetwork("only a part of each head is rotated")
    base = stated.get("rope_theta") or config.get("rope_theta") or 10_000.0
    plain = 1.0 / base ** (torch.arange(0, size, 2, dtype=torch.int64).float() / size)
    if kind == "default":
        return plain
    factor = stated["factor"]
    if kind == "linear":
        return plain / factor
    return _stretched(plain, stated, factor)


def _stretched(plain: torch.Tensor, stated: Mapping[str, Any], factor: float) -> torch.Tensor:
    """Llama 3.1's: slow frequencies are divided, fast ones kept, those between are mixed.

    Source: Meta's release of Llama 3.1, `rope_scaling` of type `llama3`.
    """
    low, high = stated["low_freq_factor"], stated["high_freq_factor"]
    turns = stated["original_max_position_embeddings"] * plain / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return kept * plain + (1 - kept) * plain / factor
