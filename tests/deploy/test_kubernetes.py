"""Every manifest is valid, and they hang together with each other and with the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.api.health import health_routes
from gateway.app.server import CUT_WITHIN_S, END_WITHIN_S
from gateway.settings import Settings
from gateway.settings.loader import parse_settings

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
VERSION = "1.37.0"

Manifest = dict[str, Any]


def manifests() -> Iterator[tuple[str, Manifest]]:
    for path in FILES:
        for number, document in enumerate(yaml.safe_load_all(path.read_text())):
            yield f"{path.name}-{number}", document


ALL = dict(manifests())


def found(kind: str, name: str) -> Manifest:
    (one,) = (one for one in ALL.values() if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return one


def container(deployment: str) -> Manifest:
    (one,) = found("Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    return dict(one)


def config() -> Settings:
    text = found("ConfigMap", "slm-gateway")["data"]["gateway.yaml"]
    return parse_settings(text, source="config.yaml")


@pytest.mark.parametrize("manifest", ALL.values(), ids=ALL.keys())
def test_it_keeps_to_the_schema(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_a_wrong_field_would_be_found() -> None:
    wrong = found("Service", "gateway") | {"spec": {"ports": [{"prot": 80}]}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_the_kustomization_has_them_all_but_the_template() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert set(kustomization["resources"]) == {path.name for path in FILES} - {
        "secret.example.yaml"
    }
    assert kustomization["namespace"] == found("Namespace", "slm-gateway")["metadata"]["name"]
    assert kustomization["images"][0]["name"] == container("gateway")["image"]


def test_the_gateway_finds_its_configuration_and_its_secrets() -> None:
    settings, secret = config(), found("Secret", "slm-gateway")
    gateway = container("gateway")
    (reference,) = gateway["envFrom"]
    assert reference["secretRef"]["name"] == secret["metadata"]["name"]
    needed = {settings.auth.api_keys_env, settings.redis.url_env, "PGPASSWORD"}
    needed |= {one.api_key_env for one in settings.deployments if one.api_key_env is not None}
    assert set(secret["stringData"]) == needed
    assert not any(secret["stringData"].values()), "a template holds no secret"
    mounts = {one["name"]: one["mountPath"] for one in gateway["volumeMounts"]}
    pod = found("Deployment", "gateway")["spec"]["template"]["spec"]
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert set(mounts) == set(volumes)
    map_name = volumes["config"]["configMap"]["name"]
    (file,) = found("ConfigMap", map_name)["data"]
    assert f"{mounts['config']}/{file}" in gateway["args"]
    assert str(settings.ledger.spool_dir).startswith(mounts["state"])
    assert settings.server.host == "0.0.0.0"


def test_probes_ask_for_what_the_gateway_answers() -> None:
    paths = {getattr(route, "path", None) for route in health_routes(dict, dict, dict).routes}
    gateway = container("gateway")
    ports = {one["name"]: one["containerPort"] for one in gateway["ports"]}
    assert ports["http"] == config().server.port
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = gateway[probe]["httpGet"]
        assert get["path"] in paths
        assert get["port"] in ports
    assert gateway["livenessProbe"]["httpGet"]["path"] == "/healthz", "no upstream can restart it"


def test_an_end_takes_as_long_as_it_may() -> None:
    pod = found("Deployment", "gateway")["spec"]["template"]["spec"]
    before_s = container("gateway")["lifecycle"]["preStop"]["sleep"]["seconds"]
    least_s = before_s + config().server.shutdown_grace_s + 2 * CUT_WITHIN_S + END_WITHIN_S
    assert pod["terminationGracePeriodSeconds"] >= least_s + 10


def test_the_gateway_runs_without_rights() -> None:
    pod = found("Deployment", "gateway")["spec"]["template"]["spec"]
    dockerfile = (FOLDER.parents[1] / "Dockerfile").read_text()
    assert f"USER {pod['securityContext']['runAsUser']}\n" in dockerfile
    assert pod["securityContext"]["runAsNonRoot"] is True
    own = container("gateway")["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", ["gateway", "vllm"])
def test_services_budgets_and_policies_mean_the_pods_that_there_are(name: str) -> None:
    deployment = found("Deployment", name)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    service = found("Service", name)
    policy = found("NetworkPolicy", name)
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    ports = {one["name"] for one in container(name)["ports"]}
    assert {one["targetPort"] for one in service["spec"]["ports"]} <= ports
    assert {one["port"] for rule in policy["spec"]["ingress"] for one in rule["ports"]} <= ports


def test_scaling_and_disruptions_leave_a_gateway() -> None:
    scaler = found("HorizontalPodAutoscaler", "gateway")["spec"]
    deployment = found("Deployment", scaler["scaleTargetRef"]["name"])
    assert scaler["scaleTargetRef"]["kind"] == deployment["kind"]
    assert "replicas" not in deployment["spec"], "the scaler's own figure"
    assert "cpu" in container("gateway")["resources"]["requests"], "a share of it is measured"
    budget = found("PodDisruptionBudget", "gateway")["spec"]
    assert budget["selector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]
    assert scaler["minReplicas"] > budget["maxUnavailable"]


def test_vllm_serves_the_model_that_the_gateway_asks_for() -> None:
    (small,) = (one for one in config().deployments if one.tier == "small")
    vllm = container("vllm")
    arguments = vllm["args"]
    assert small.backend == "openai"
    assert arguments[arguments.index("--served-model-name") + 1] == small.model
    port = found("Service", "vllm")["spec"]["ports"][0]["port"]
    assert small.base_url == f"http://vllm:{port}/v1"
    assert str(vllm["ports"][0]["containerPort"]) == arguments[arguments.index("--port") + 1]
    key = next(one["valueFrom"]["secretKeyRef"] for one in vllm["env"] if "valueFrom" in one)
    assert key == {"name": "slm-gateway", "key": small.api_key_env}
