"""The configuration file as types. Every key has a default; unknown keys are refused.

`config/gateway.yaml` documents each key for people and holds exactly these defaults.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from gateway.core.deployment import Capability, Tier

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
UsdRate = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$")]
BaseUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def is_routing_name(name: str) -> bool:
    """Whether a model of that name is not one, but routing."""
    return name == "auto" or name.startswith(("auto:", "auto@"))


class ServerSettings(_Section):
    """Where the gateway listens, and its limits."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    max_body_mb: Positive = 20
    max_header_kb: Positive = 32
    header_timeout_s: Positive = 10
    body_timeout_s: Positive = 20
    min_body_kb_per_s: Positive = 1
    keep_alive_s: Positive = 75
    write_timeout_s: Positive = 60
    max_connections: int = Field(4096, ge=1)
    shutdown_grace_s: Positive = 30


class AuthSettings(_Section):
    """Who may call: client keys, comma-separated in one environment variable."""

    api_keys_env: EnvName = "GATEWAY_API_KEYS"


class PriceSettings(_Section):
    """USD per million tokens, or USD per hour of compute.

    The rates of tokens that a prompt cache gave or took, and of audio, are those of other tokens
    where they aren't given.
    """

    input: UsdRate | None = None
    cached_input: UsdRate | None = None
    cache_write: UsdRate | None = None
    cache_write_1h: UsdRate | None = None
    audio_input: UsdRate | None = None
    output: UsdRate | None = None
    audio_output: UsdRate | None = None
    usd_per_hour: UsdRate | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        per_token = (self.input, self.output)
        if self.usd_per_hour is not None:
            if self.model_dump(exclude={"usd_per_hour"}, exclude_none=True):
                raise ValueError("give usd_per_hour or rates per million tokens, not both")
        elif any(rate is None for rate in per_token):
            raise ValueError("input and output are both needed (or usd_per_hour alone)")
        return self


class DeploymentSettings(_Section):
    """One model behind one backend."""

    name: Name
    tier: Tier
    backend: Literal["local", "openai", "anthropic"]
    model: str = Field(min_length=1)
    serves: Literal["chat", "embeddings"] = "chat"
    aliases: tuple[Name, ...] = ()
    price: PriceSettings | None = None
    context_window: int | None = Field(None, ge=1)
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
    # The local engine
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    threads: int | None = Field(None, ge=1)
    kv_cache_mb: int | None = Field(None, ge=1)
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
        if self.adapters and (self.backend, self.serves) != ("local", "chat"):
            raise ValueError("adapters are for local models that chat")
        if any(is_routing_name(name) for name in self.adapters):
            raise ValueError("an adapter can't be called auto: that name means routing")
        return self


class TargetSettings(_Section):
    """What a policy aims for; its threshold is solved from this.

    `confidence` is that of the promise that `quality` is kept.
    """

    quality: Annotated[float, Field(gt=0, le=1)] | None = None
    large_share: Probability | None = None
    usd_per_day: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)] | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.9

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (
            sum(goal is not None for goal in (self.quality, self.large_share, self.usd_per_day))
            != 1
        ):
            raise ValueError("give exactly one of quality, large_share and usd_per_day")
        return self

    def __str__(self) -> str:
        """`quality 0.95 at confidence 0.9`, `large_share 0.3` or `usd_per_day 5`."""
        if self.quality is not None:
            return f"quality {self.quality:g} at confidence {self.confidence:g}"
        if self.large_share is not None:
            return f"large_share {self.large_share:g}"
        return f"usd_per_day {self.usd_per_day}"


class CascadeSettings(_Section):
    """The small model's first tokens are held back, and dropped where it isn't sure of them."""

    hold_tokens: int = Field(24, ge=1)
    min_confidence: Probability = 0.6


class PolicySettings(_Section):
    """A named threshold: a number, solved from a target, or (with neither) `routing.threshold`.

    `safe_side` answers what the score can't judge, such as a script that it has never seen.
    """

    threshold: Probability | None = None
    target: TargetSettings | None = None
    safe_side: Tier = Tier.LARGE
    cascade: CascadeSettings | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.threshold is not None and self.target is not None:
            raise ValueError("give a threshold or a target, not both")
        return self


def _shipped_policies() -> dict[str, PolicySettings]:
    return {
        "balanced": PolicySettings(),
        "cheap": PolicySettings(threshold=0.8, safe_side=Tier.SMALL),
        "quality": PolicySettings(target=TargetSettings(quality=0.95)),
    }


class BreakerSettings(_Section):
    """When a deployment that fails is left alone, and for how long."""

    failures: int = Field(5, ge=1)
    cooldown_s: Positive = 5
    longest_cooldown_s: Positive = 60


class HedgingSettings(_Section):
    """A second attempt beside one whose answer takes unusually long to begin."""

    enabled: bool = False
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.95
    least_wait_s: Positive = 0.5
    most_share: Annotated[float, Field(gt=0, le=1)] = 0.05


class ResilienceSettings(_Section):
    """What happens when deployments fail, are slow or are full."""

    deadline_s: Positive = 120
    breaker: BreakerSettings = BreakerSettings()
    hedging: HedgingSettings = HedgingSettings()


class AffinitySettings(_Section):
    """How a conversation keeps to the model that answered it."""

    enabled: bool = True
    ttl_s: Positive = 600
    max_sessions: int = Field(50_000, ge=1)
    margin: Probability = 0.05


class RoutingSettings(_Section):
    """How requests are routed."""

    threshold: Probability = 0.5
    default_policy: str = "balanced"
    policies: dict[Name, PolicySettings] = Field(default_factory=_shipped_policies)
    fallback: Literal["any_tier", "same_tier", "none"] = "any_tier"
    balance: Literal["in_order", "weighted", "least_busy"] = "in_order"
    model_map: dict[str, str] = Field(default_factory=dict)
    reserved_output_tokens: int = Field(256, ge=1)
    affinity: AffinitySettings = AffinitySettings()
    exploration: Probability = 0.0
    classifier: Path | None = None
    shadow: Path | None = None
    calibration: Path | None = None

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default_policy not in self.policies:
            known = ", ".join(sorted(self.policies))
            raise ValueError(f"default_policy {self.default_policy!r} is none of: {known}")
        return self


class LedgerSettings(_Section):
    """Where the spend log is kept."""

    url: Annotated[str, StringConstraints(pattern=r"^(sqlite|postgresql(\+psycopg)?)://")] = (
        "sqlite:///gateway.db"
    )
    durable: bool = False
    keep_messages: bool = False
    retention_days: int | None = Field(90, ge=1)
    queue_size: int = Field(10_000, ge=1)
    flush_interval_s: Positive = 0.5
    spool_mb: int = Field(256, ge=1)
    spool_dir: Path | None = None


class ResponsesSettings(_Section):
    """What is kept of the Responses API's answers, in the ledger's database."""

    store: bool = True
    retention_days: int | None = Field(30, ge=1)


class ModelsSettings(_Section):
    """Where fetched models are kept; by default a folder of the user's cache."""

    dir: Path | None = None


class LoggingSettings(_Section):
    """One line a request on standard output: JSON, or coloured text on a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class MetricsSettings(_Section):
    """What Prometheus may read at `/metrics`."""

    enabled: bool = True


class TracingSettings(_Section):
    """Where OpenTelemetry traces go: a collector's base URL for OTLP over HTTP. Null: nowhere."""

    otlp_endpoint: BaseUrl | None = None
    service_name: str = Field("slm-gateway", min_length=1)
    sample: Probability = 1.0
    headers_env: EnvName | None = None


def _shipped_deployments() -> tuple[DeploymentSettings, ...]:
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


class Settings(_Section):
    """The whole configuration file."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    deployments: tuple[DeploymentSettings, ...] = Field(default_factory=_shipped_deployments)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    resilience: ResilienceSettings = ResilienceSettings()
    ledger: LedgerSettings = LedgerSettings()
    responses: ResponsesSettings = ResponsesSettings()
    models: ModelsSettings = ModelsSettings()
    logging: LoggingSettings = LoggingSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        if not self.deployments:
            raise ValueError("deployments: at least one is needed")
        names = Counter(
            name
            for entry in self.deployments
            for name in [*{entry.name, *entry.aliases}, *entry.adapters]
        )
        twice = sorted(name for name, count in names.items() if count > 1)
        if twice:
            raise ValueError(f"deployments: names or aliases used twice: {', '.join(twice)}")
        return self
