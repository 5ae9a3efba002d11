"""How one answer is to be sampled: what the request asks, over the model's own defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.core.request import ChatRequest

#: The longest answer when the client names no limit, in tokens; less where the context window ends.
DEFAULT_MAX_TOKENS = 1024

#: The most choices of one request.
MOST_CHOICES = 8

#: No vocabulary is larger.
_MOST_TOP_K = 2**31 - 1

_NUMBERS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)


@dataclass(slots=True, frozen=True)
class SamplingParams:
    """Sampling of one answer. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 keep every token.

    `min_p` leaves out tokens that are less likely than that part of the likeliest one's.
    `repetition_penalty` divides the logits of tokens that the prompt or the answer has, as in
    CTRL (arXiv 1909.05858); `logit_bias` is added to those of its token ids. `max_tokens` None
    means `DEFAULT_MAX_TOKENS`; `seed` None means a random one. `top_logprobs` is how many
    alternatives are told of each token, None for no logprobs at all.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    max_tokens: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int | None = None
    stop: tuple[str, ...] = ()

    @classmethod
    def of(cls, asked: Mapping[str, Any], defaults: Mapping[str, Any]) -> SamplingParams:
        """What `asked_of` read from a request, over the model's defaults."""
        fields = {**defaults, **asked}
        bias = tuple((int(token), value) for token, value in fields.get("logit_bias", ()))
        return cls(**{**fields, "stop": tuple(fields.get("stop", ())), "logit_bias": bias})

    def of_choice(self, index: int) -> SamplingParams:
        """The same for another choice of the request, which draws other tokens."""
        return self if self.seed is None else replace(self, seed=self.seed + index)


def asked_of(request: ChatRequest) -> dict[str, Any]:
    """The sampling fields that a checked request sets, as JSON values; null means absent."""
    payload = request.payload
    asked: dict[str, Any] = {
        name: payload[name]
        for name in _NUMBERS
        if isinstance(payload.get(name), int | float) and not isinstance(payload[name], bool)
    }
    if "top_k" in asked:  # not a field of OpenAI's: nobody has checked it; -1 is vLLM's "off"
        asked["top_k"] = max(0, int(min(asked["top_k"], _MOST_TOP_K)))
    if request.max_tokens is not None:
        asked["max_tokens"] = request.max_tokens
    if payload.get("logit_bias"):
        asked["logit_bias"] = list(payload["logit_bias"].items())
    if payload.get("logprobs"):
        asked["top_logprobs"] = payload.get("top_logprobs") or 0
    stop = payload.get("stop") or ()
    asked["stop"] = [stop] if isinstance(stop, str) else [text for text in stop if text]
    return asked


def defaults_of(generation_config: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling defaults that a model's `generation_config.json` states.

    Greedy where it states none, as transformers generates then.
    """
    if not generation_config.get("do_sample"):
        return {"temperature": 0.0}
    stated = {name: generation_config.get(name) for name in ("temperature", "top_p", "top_k")}
    return {name: value for name, value in stated.items() if value is not None}
