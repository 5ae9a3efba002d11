"""The configuration file as types. Every key has a default; unknown keys are refused.

`config/gateway.yaml` documents each key for people and holds exactly these defaults.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from gateway.settings.alerts import AlertsSettings
from gateway.settings.dashboard import DashboardSettings
from gateway.settings.deployments import DeploymentSettings, shipped_deployments
from gateway.settings.energy import EnergySettings
from gateway.settings.keys import KeysSettings
from gateway.settings.redis import RedisSettings
from gateway.settings.routing import ResilienceSettings, RoutingSettings
from gateway.settings.section import BaseUrl, EnvName, Positive, Probability, Section


class ServerSettings(Section):
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

    @property
    def url(self) -> str:
        """Where a client on this machine finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class AuthSettings(Section):
    """Who may call: client keys, comma-separated in one environment variable."""

    api_keys_env: EnvName = "GATEWAY_API_KEYS"


class LedgerSettings(Section):
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


class ResponsesSettings(Section):
    """What is kept of the Responses API's answers, in the ledger's database."""

    store: bool = True
    retention_days: int | None = Field(30, ge=1)


class ModelsSettings(Section):
    """Where fetched models are kept; by default a folder of the user's cache."""

    dir: Path | None = None


class LoggingSettings(Section):
    """One line a request on standard output: JSON, or coloured text on a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class MetricsSettings(Section):
    """What Prometheus may read at `/metrics`."""

    enabled: bool = True


class TracingSettings(Section):
    """Where OpenTelemetry traces go: a collector's base URL for OTLP over HTTP. Null: nowhere."""

    otlp_endpoint: BaseUrl | None = None
    service_name: str = Field("slm-gateway", min_length=1)
    sample: Probability = 1.0
    headers_env: EnvName | None = None


class Settings(Section):
    """The whole configuration file."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    deployments: tuple[DeploymentSettings, ...] = Field(default_factory=shipped_deployments)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    resilience: ResilienceSettings = ResilienceSettings()
    ledger: LedgerSettings = LedgerSettings()
    keys: KeysSettings = KeysSettings()
    alerts: AlertsSettings = AlertsSettings()
    redis: RedisSettings = RedisSettings()
    energy: EnergySettings = EnergySettings()
    responses: ResponsesSettings = ResponsesSettings()
    models: ModelsSettings = ModelsSettings()
    logging: LoggingSettings = LoggingSettings()
    metrics: MetricsSettings = MetricsSettings()
    dashboard: DashboardSettings = DashboardSettings()
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
