"""What a changed configuration can be in a running process."""

from pathlib import Path
from typing import Any

import pytest

from gateway.app.restart import Engine, changed_keys, reachable, same_backend
from gateway.settings import ConfigError, Settings

LOCAL = {"name": "tiny", "tier": "small", "backend": "local", "model": "one"}
REMOTE = {
    "name": "big",
    "tier": "large",
    "backend": "openai",
    "model": "m",
    "base_url": "http://127.0.0.1:1/v1",
}


def settings(*deployments: dict[str, Any], **sections: object) -> Settings:
    return Settings.model_validate({"deployments": deployments or (LOCAL, REMOTE), **sections})


BEFORE = settings()
ENGINES = [Engine(BEFORE.deployments[0], Path("/tiny.sock"))]


def test_routing_and_deployments_go_live() -> None:
    wanted = settings(
        {**LOCAL, "aliases": ["t"], "price": {"usd_per_hour": 1}, "power_w": 65},
        {**REMOTE, "timeout_s": 7},
        {**REMOTE, "name": "more"},
        routing={"threshold": 0.1},
        ledger={"keep_messages": True},
        logging={"level": "debug"},
        energy={"usd_per_kwh": 0.3, "grams_co2_per_kwh": 30, "pue": 1.2, "watts_per_core": 5},
    )
    reached = reachable(BEFORE, wanted, ENGINES)
    assert reached.settings == wanted
    assert reached.engine_sockets == {"tiny": Path("/tiny.sock")}
    assert not reached.waiting


def test_what_a_process_is_built_on_waits() -> None:
    wanted = settings(
        server={"port": 1, "shutdown_grace_s": 3},
        auth={"api_keys_env": "OTHER"},
        ledger={"url": "sqlite:///other.db", "durable": True, "keep_messages": True},
        models={"dir": "/other"},
        logging={"format": "json", "level": "debug"},
        energy={"powercap": "/host/sys/class/powercap"},
    )
    reached = reachable(BEFORE, wanted, ENGINES)
    assert reached.waiting == [
        "auth.api_keys_env",
        "energy.powercap",
        "ledger.durable",
        "ledger.url",
        "logging.format",
        "models.dir",
        "server.port",
        "server.shutdown_grace_s",
    ]
    assert reached.settings == settings(ledger={"keep_messages": True}, logging={"level": "debug"})


def test_another_engine_waits_and_the_rest_of_its_deployment_does_not() -> None:
    changed = {**LOCAL, "model": "two", "threads": 1, "aliases": ["t"]}
    reached = reachable(BEFORE, settings(changed, {**LOCAL, "name": "new", "model": "x"}), ENGINES)
    assert reached.settings.deployments == settings({**LOCAL, "aliases": ["t"]}).deployments
    assert reached.waiting == [
        "deployments.new",
        "deployments.tiny.model",
        "deployments.tiny.threads",
    ]


def test_a_running_engine_serves_under_another_name_and_comes_back() -> None:
    renamed = settings({**LOCAL, "name": "small-one"}, REMOTE)
    reached = reachable(BEFORE, renamed, ENGINES)
    assert reached.settings == renamed
    assert reached.engine_sockets == {"small-one": Path("/tiny.sock")}
    assert reachable(settings(REMOTE), BEFORE, ENGINES).settings == BEFORE


def test_a_remote_deployment_that_would_become_local_stays() -> None:
    local = {**LOCAL, "name": "big", "model": "x"}
    reached = reachable(BEFORE, settings(LOCAL, local), ENGINES)
    assert reached.settings == BEFORE
    assert reached.waiting == ["deployments.big"]


def test_a_configuration_that_could_answer_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="before a restart"):
        reachable(settings(REMOTE), settings({**LOCAL, "model": "x"}), ENGINES)


def test_a_backend_is_the_same_whatever_routing_knows_of_its_deployment() -> None:
    one = BEFORE.deployments[1]
    routed = {"name": "n", "tier": "small", "aliases": ("a",), "context_window": 9, "retries": 0}
    assert same_backend(one, one.model_copy(update=routed))
    for key, value in {"timeout_s": 1.0, "api_key_env": "K", "base_url": "http://x"}.items():
        assert not same_backend(one, one.model_copy(update={key: value}))


def test_changed_keys_are_named() -> None:
    after = settings(REMOTE, routing={"threshold": 0.1, "exploration": 0.2})
    assert changed_keys(BEFORE, after) == [
        "deployments",
        "routing.exploration",
        "routing.threshold",
    ]
