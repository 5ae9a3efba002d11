"""How one answer is to be sampled, read from an OpenAI request body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

#: The longest answer when the client names no limit, in tokens.
DEFAULT_MAX_TOKENS = 1024


@dataclass(slots=True, frozen=True)
class SamplingParams:
    """Sampling of one sequence; what is None is left to the model's own defaults.

    Temperature 0 is greedy, top-k 0 is the whole vocabulary.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any], max_tokens: int | None) -> SamplingParams:
        """Read a checked request body; null and absent fields take the default."""
        stop = payload.get("stop") or ()
        given = {
            name: payload[name]
            for name in (
                "temperature",
                "top_p",
                "top_k",
                "seed",
                "presence_penalty",
                "frequency_penalty",
            )
            if isinstance(payload.get(name), int | float)
        }
        return cls(
            **given,
            max_tokens=max_tokens,
            stop=(stop,) if isinstance(stop, str) else tuple(text for text in stop if text),
        )

    def with_defaults(self, model: SamplingParams) -> SamplingParams:
        """What the client left open, as the model's publisher recommends."""
        return replace(
            self,
            temperature=model.temperature if self.temperature is None else self.temperature,
            top_p=model.top_p if self.top_p is None else self.top_p,
            top_k=model.top_k if self.top_k is None else self.top_k,
        )

    def to_wire(self) -> dict[str, Any]:
        """As a JSON object for the engine's socket."""
        return asdict(self)

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> SamplingParams:
        """The inverse of `to_wire`."""
        return cls(**{**fields, "stop": tuple(fields["stop"])})
