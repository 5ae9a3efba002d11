"""The deployments of the configuration: which models there are, behind which backends."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.core.deployment import Capability, Tier
from gateway.settings.price import PriceSettings
from gateway.settings.section import (
    BaseUrl,
    EnvName,
    HeaderName,
    Language,
    Name,
    Positive,
    Section,
    Zone,
    is_routing_name,
)


class DeploymentSettings(Section):
    """One model behind one backend."""

    name: Name
    tier: Tier
    backend: Literal["local", "openai", "anthropic"]
    model: str = Field(min_length=1)
    serves: Literal["chat", "embeddings"] = "chat"
    aliases: tuple[Name, ...] = ()
    price: PriceSettings | None = None
    power_w: Positive | None = None
    context_window: int | None = Field(None, ge=1)
    max_output_tokens: int | None = Field(None, ge=1)
    capabilities: tuple[Capability, ...] | None = None
    languages: tuple[Language, ...] | None = None
    retries: int = Field(2, ge=0, le=10)
    weight: int = Field(1, ge=1, le=1000)
    max_concurrent: int | None = Field(None, ge=1)
    max_queue: int | None = Field(None, ge=0)
    queue_timeout_s: Positive = 10
    # Remote upstreams
    base_url: BaseUrl | None = None
    api_key_env: EnvName | None = None
    api_key_header: HeaderName | None = None
    connect_timeout_s: Positive = 5
    timeout_s: Positive = 60
    idle_timeout_s: Positive = 30
    total_timeout_s: Positive = 600
    extra_headers: dict[str, str] = Field(default_factory=dict)
    query_parameters: dict[str, str] = Field(default_factory=dict)
    text_completions: bool = False
    cache_marks: bool = False
    thinking: Literal["adaptive", "budget"] = "adaptive"
    default_max_tokens: int = Field(4096, ge=1)
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    stream_usage: bool = True
    electricity_zone: Zone | None = None
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = ()
    # The local engine
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    threads: int | None = Field(None, ge=1)
    kv_cache_mb: int | None = Field(None, ge=1)
    share_prompt_cache: bool = False
    idle_unload_s: Positive | None = None
    adapters: dict[Name, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)

    @property
    def idle_s(self) -> float | None:
        """How long a local model may be idle before it is unloaded; None for ever."""
        if self.idle_unload_s is None and self.serves == "embeddings":
            return 600.0
        return self.idle_unload_s

    @property
    def most_calls(self) -> int:
        """Calls at once."""
        if self.max_concurrent is not None:
            return self.max_concurrent
        return 8 if self.backend == "local" else 512

    @property
    def most_waiting(self) -> int:
        """Calls that wait for another to end."""
        if self.max_queue is not None:
            return self.max_queue
        return 64 if self.backend == "local" else 512

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if is_routing_name(self.name):
            raise ValueError("a deployment can't be called auto: that name means routing")
        if self.backend != "local" and self.base_url is None:
            raise ValueError(f"base_url is needed for the {self.backend} backend")
        if self.backend == "anthropic" and self.serves != "chat":
            raise ValueError("the anthropic backend serves chat alone")
        if self.backend == "local" and self.base_url is not None:
            raise ValueError("base_url has no meaning for the local backend")
        if self.backend == "local" and self.electricity_zone is not None:
            raise ValueError(
                "electricity_zone is for vendors' models: see energy.grams_co2_per_kwh"
            )
        if self.gpus and self.backend != "openai":
            raise ValueError("gpus are those of an upstream with the openai backend")
        if self.adapters and (self.backend, self.serves) != ("local", "chat"):
            raise ValueError("adapters are for local models that chat")
        if any(is_routing_name(name) for name in self.adapters):
            raise ValueError("an adapter can't be called auto: that name means routing")
        return self


def shipped_deployments() -> tuple[DeploymentSettings, ...]:
    """What is deployed where the file says nothing."""
    return (
        DeploymentSettings(
            name="smollm2",
            tier=Tier.SMALL,
            backend="local",
            model="smollm2-135m-instruct",
            price=PriceSettings(usd_per_hour=Decimal("0.08")),
        ),
        DeploymentSettings(
            name="gpt-4o",
            tier=Tier.LARGE,
            backend="openai",
            model="gpt-4o",
            base_url="https://api.openai.com/v1",
            api_key_env="OPENAI_API_KEY",
            max_output_tokens=16_384,
        ),
        DeploymentSettings(
            name="minilm",
            tier=Tier.SMALL,
            backend="local",
            model="all-minilm-l6-v2",
            serves="embeddings",
            price=PriceSettings(usd_per_hour=Decimal("0.08")),
        ),
    )
