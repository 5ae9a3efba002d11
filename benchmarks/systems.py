"""What is measured side by side: how each system is started, asked and told to be quick."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.process import running
from tests.gateway_process import free_port

PEERS = Path(__file__).parent.parent / ".bench-venv" / "bin"
KEY = "sk-benchmark"


@dataclass(slots=True, frozen=True)
class System:
    """One thing that answers chat requests; `key` and `model` are what its clients send.

    `forks` says that a child of the started process answers, not the process itself.
    """

    name: str
    label: str
    port: int
    command: tuple[str, ...]
    health: str
    model: str = "gpt-4o"
    key: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    forks: bool = False

    @property
    def health_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.health}"


class Missing(Exception):
    """A peer isn't installed; the message says how to get it."""


@contextmanager
def simulated_upstream(folder: Path, cores: set[int] | None = None) -> Iterator[tuple[int, int]]:
    """The upstream that all systems forward to, while the block runs: its port and its process."""
    system = direct(0, folder)
    log = folder / "upstream.log"
    with running(system.command, system.health_url, log=log, cores=cores) as started:
        yield system.port, started.pid


def direct(upstream_port: int, folder: Path) -> System:
    """One more upstream, to be asked directly: the limit, on the core that all the others share."""
    port = free_port()
    command = (sys.executable, "-m", "benchmarks.upstream", "--port", str(port))
    return System("direct", "upstream asked directly", port, command, "/healthz")


def nginx(upstream_port: int, folder: Path) -> System:
    """nginx as a reverse proxy: one worker, connections kept alive on both sides, no access log."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise Missing("nginx isn't installed (Debian: apt-get install nginx-light)")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream_port))
    command = (program, "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx.log"))
    return System("nginx", "nginx, reverse proxy", port, command, "/healthz", forks=True)


_NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream vendor {{
        server 127.0.0.1:{upstream};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        keepalive_requests 100000000;
        location = /healthz {{ return 200; }}
        location / {{
            proxy_pass http://vendor;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


def bare(upstream_port: int, folder: Path) -> System:
    """The pass-through of `bare.py`."""
    port = free_port()
    command = (sys.executable, "-m", "benchmarks.bare", "--port", str(port))
    env = {"BARE_UPSTREAM": f"http://127.0.0.1:{upstream_port}/v1/chat/completions"}
    label = "bare Starlette + orjson + aiohttp"
    return System("bare", label, port, command, "/healthz", env=env)


def litellm(upstream_port: int, folder: Path) -> System:
    """LiteLLM's proxy: master key, no database, no callbacks, its log at ERROR, under Granian.

    Granian was the quickest of the servers that it offers, a tenth above uvicorn.
    """
    program = PEERS / "litellm"
    if not program.exists():
        raise Missing("LiteLLM isn't installed (make bench installs it into .bench-venv)")
    port = free_port()
    params = {
        "model": "openai/gpt-4o",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": "sk-upstream",
    }
    settings = {
        "model_list": [{"model_name": "gpt-4o", "litellm_params": params}],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False, "num_retries": 0, "set_verbose": False},
    }
    config = folder / "litellm.yaml"
    config.write_text(yaml.safe_dump(settings))
    env = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_DOCS": "True",
        "PATH": f"{PEERS}:/usr/local/bin:/usr/bin:/bin",
    }
    serve = ("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--run_granian")
    command = (str(program), "--config", str(config), *serve)
    label = "LiteLLM's proxy, master key, no database"
    health = "/health/liveliness"
    return System("litellm", label, port, command, health, key=KEY, env=env, forks=True)


def us(upstream_port: int, folder: Path) -> System:
    """The gateway with everything on, two tiers to choose from; both are the same upstream."""
    return gateway(gateway_config(upstream_port, folder), folder)


def gateway_config(upstream_port: int, folder: Path) -> dict[str, Any]:
    """The configuration of `us`."""
    small_price = {"input": 0.15, "cached_input": 0.075, "output": 0.60}
    large_price = {"input": 2.50, "cached_input": 1.25, "output": 10.00}
    return {
        "deployments": [
            deployment("small", "small", "gpt-4o-mini", upstream_port, small_price),
            deployment("large", "large", "gpt-4o", upstream_port, large_price),
        ],
        "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"},
    }


def deployment(
    name: str, tier: str, model: str, upstream_port: int, price: Mapping[str, float]
) -> dict[str, Any]:
    """One deployment of the gateway's configuration, answered by the upstream."""
    return {
        "name": name,
        "tier": tier,
        "backend": "openai",
        "model": model,
        "base_url": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key_env": "BENCHMARK_UPSTREAM_KEY",
        "price": dict(price),
        "context_window": 128_000,
    }


def gateway(
    config: Mapping[str, Any],
    folder: Path,
    *,
    workers: int = 1,
    module: Sequence[str] = ("gateway",),
) -> System:
    """The gateway with a configuration; `module` is what runs its command line."""
    port = free_port()
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config))
    serve = ("serve", "--config", str(path), "--port", str(port), "--workers", str(workers))
    command = (sys.executable, "-m", *module, *serve)
    env = {"GATEWAY_API_KEYS": KEY, "BENCHMARK_UPSTREAM_KEY": "sk-upstream"}
    return System("us", "slm-gateway, everything on", port, command, "/healthz", "auto", KEY, env)


#: The systems under test by name, in the order of the table.
SYSTEMS: Mapping[str, Callable[[int, Path], System]] = {
    "direct": direct,
    "nginx": nginx,
    "litellm": litellm,
    "bare": bare,
    "us": us,
}
