"""What `deploy/compose.yaml` says is valid, and hangs together with the gateway."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
CONFIGS = sorted(DEPLOY.glob("gateway*.yaml"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def test_it_keeps_to_the_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema"]
    schema = ["--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    done = subprocess.run([*command, *schema], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_its_gateways_configurations_are_accepted(compose: dict[str, Any], path: Path) -> None:
    settings = load_settings(path)
    services = compose["services"]
    environment = services["gateway"]["environment"]
    assert settings.server.host == "0.0.0.0"
    assert settings.ledger.url == "postgresql://gateway@postgres/gateway"
    server = services["postgres"]["environment"]
    assert server["POSTGRES_USER"] == server["POSTGRES_DB"] == "gateway"
    assert server["POSTGRES_PASSWORD"] == environment["PGPASSWORD"]
    assert settings.redis.url_env in environment
    assert settings.auth.api_keys_env in environment
    for entry in settings.deployments:
        assert entry.api_key_env is None or entry.api_key_env in environment
    assert environment[settings.redis.url_env].partition("//")[2].startswith("redis:")
    assert str(settings.ledger.spool_dir).startswith(mounts_of(services["gateway"])["spool"])
    grace_s = int(services["gateway"]["stop_grace_period"].removesuffix("s"))
    assert grace_s >= settings.server.shutdown_grace_s + 10


def test_the_gateway_runs_what_is_mounted(compose: dict[str, Any]) -> None:
    gateway = compose["services"]["gateway"]
    (config,) = gateway["configs"]
    assert config["target"] in gateway["command"]
    default = re.fullmatch(r"\$\{GATEWAY_CONFIG:-(.*)\}", compose["configs"]["gateway"]["file"])
    assert default is not None
    assert (DEPLOY / default[1]).is_file()
    assert set(gateway["depends_on"]) <= set(compose["services"])
    for name in gateway["depends_on"]:
        assert "healthcheck" in compose["services"][name]
    used = {name for one in compose["services"].values() for name in mounts_of(one)}
    assert used == set(compose["volumes"])


def test_every_variable_stands_in_the_example(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    without_comments = "\n".join(line.partition("#")[0] for line in text.splitlines())
    asked = set(re.findall(r"\$\{(\w+)", without_comments))
    known = set(re.findall(r"^(\w+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    assert asked - known == {"GATEWAY_PORT", "GATEWAY_CONFIG"}
    assert known <= asked


def test_vllm_serves_the_model_that_the_gateway_asks_for(compose: dict[str, Any]) -> None:
    settings = load_settings(DEPLOY / "gateway-vllm.yaml")
    vllm = compose["services"]["vllm"]
    (small,) = (
        one for one in settings.deployments if one.backend == "openai" and one.tier == "small"
    )
    assert vllm["command"][vllm["command"].index("--served-model-name") + 1] == small.model
    port = vllm["command"][vllm["command"].index("--port") + 1]
    assert small.base_url == f"http://vllm:{port}/v1"
    assert small.api_key_env in vllm["environment"]


def mounts_of(service: dict[str, Any]) -> dict[str, str]:
    """Where a service's named volumes are mounted."""
    pairs = (one.split(":")[:2] for one in service.get("volumes", ()))
    return dict(pairs)
