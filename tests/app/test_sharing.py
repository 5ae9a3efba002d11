"""Two live gateways in one process at a real Redis, and what is refused at start."""

import asyncio
import importlib.util
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml

from gateway.app.reload import LiveGateway
from gateway.app.sharing import Sharing, sharing_of
from gateway.app.source import ConfigSource
from gateway.core.errors import UpstreamError
from gateway.settings import ConfigError, Environment

DOWN = UpstreamError("down", status=503)
SESSION = ("key", "s")


def write(folder: Path, prefix: str, *models: str, failures: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    deployments = [
        {
            "name": f"d{number}",
            "tier": "large",
            "backend": "openai",
            "model": model,
            "base_url": "http://127.0.0.1:9/v1",
        }
        for number, model in enumerate(models)
    ]
    config = {
        "deployments": deployments,
        "redis": {"prefix": prefix},
        "resilience": {"breaker": {"failures": failures}},
        "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"},
    }
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def live_of(path: Path, redis_url: str) -> LiveGateway:
    source = ConfigSource(path)
    return LiveGateway(source, source.load(), Environment({"GATEWAY_REDIS_URL": redis_url}), {})


def fail(live: LiveGateway, name: str) -> None:
    breaker = live.gateway.health.breaker(name)
    assert breaker is not None
    breaker.failed(breaker.begin(), DOWN)


def states(live: LiveGateway) -> list[str]:
    return list(live.gateway.health.breaker_states().values())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_reload_changes_what_is_shared(redis_socket: Path, tmp_path: Path) -> None:
    url, prefix = f"unix://{redis_socket}", f"test-{uuid.uuid4().hex}"
    environment = Environment({"GATEWAY_REDIS_URL": url})
    one = live_of(write(tmp_path / "one", prefix, "a", "b"), url)
    two = live_of(write(tmp_path / "two", prefix, "a", "b"), url)
    async with AsyncExitStack() as stack:
        for live in (one, two):
            sharing = sharing_of(live, environment)
            assert isinstance(sharing, Sharing)
            await live.start()
            stack.push_async_callback(live.stop)
            await sharing.start()
            stack.push_async_callback(sharing.stop)
            assert sharing.is_connected()
            assert sharing.degraded() == {"redis": None}
        fail(one, "d0")
        await until(lambda: states(two) == ["open", "closed"])
        write(tmp_path / "two", prefix, "a", "another")
        two.reload_now()
        await until(lambda: two.reloads == 1)
        write(tmp_path / "one", prefix, "a", "b", "new")
        write(tmp_path / "two", prefix, "a", "another", "new")
        for live, reloads in ((one, 1), (two, 2)):
            live.reload_now()
            await until(lambda live=live, reloads=reloads: live.reloads == reloads)  # type: ignore[misc]
        fail(one, "d1")
        fail(one, "d2")
        await until(lambda: states(two) == ["open", "closed", "open"])


def test_without_an_address_nothing_is_shared(tmp_path: Path) -> None:
    live = live_of(write(tmp_path / "one", "p", "a"), "")
    assert sharing_of(live, Environment({})) is None


@pytest.mark.parametrize("url", ["ftp://user:hunter2@host", "hunter2", "redis://host:port/hunter2"])
def test_what_is_no_address_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    live = live_of(write(tmp_path / "one", "p", "a"), url)
    with pytest.raises(ConfigError) as refused:
        sharing_of(live, Environment({"GATEWAY_REDIS_URL": url}))
    assert "GATEWAY_REDIS_URL" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_without_the_package_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "one", "p", "a")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'slm-gateway\[redis\]'"):
        live_of(path, "redis://host")
