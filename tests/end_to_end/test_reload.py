"""A configuration that changes while the gateway serves."""

import asyncio
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.end_to_end.conftest import config_for
from tests.end_to_end.load import under_load
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

PATIENCE_S = 30


def remote(vendor: RunningVendor, name: str, tier: str, usd: int = 1) -> dict[str, Any]:
    return {
        "name": name,
        "tier": tier,
        "backend": "openai",
        "model": name,
        "base_url": vendor.base_url,
        "price": {"input": usd, "output": 10},
    }


def version(
    vendor: RunningVendor, threshold: float, usd: int = 1, names: tuple[str, ...] = ("big",)
) -> dict[str, Any]:
    return {
        "deployments": [
            remote(vendor, "little", "small", usd),
            *(remote(vendor, name, "large", usd) for name in names),
        ],
        "routing": {"threshold": threshold, "affinity": {"enabled": False}},
    }


def write(gateway: RunningGateway, config: dict[str, Any], *, at_once: bool = False) -> None:
    """Change the file's sections, in place or by renaming another over it."""
    text = yaml.safe_dump({**yaml.safe_load(gateway.config.read_text()), **config})
    if at_once:
        fresh = gateway.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(gateway.config)
    else:
        gateway.config.write_text(text)


def get(gateway: RunningGateway, path: str) -> httpx.Response:
    return httpx.get(gateway.url + path, timeout=PATIENCE_S)


def post(gateway: RunningGateway, path: str, model: str) -> httpx.Response:
    messages = [{"role": "user", "content": "Hi"}]
    body = {"model": model, "messages": messages, "max_tokens": 2}
    return httpx.post(gateway.base_url + path, json=body, timeout=PATIENCE_S)


def threshold_of(gateway: RunningGateway) -> float:
    found: float = post(gateway, "/route", "auto").json()["threshold"]
    return found


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def live(gateway: RunningGateway, threshold: float) -> None:
    await until(lambda: threshold_of(gateway) == threshold)


async def test_ten_changes_under_load_fail_no_request(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    vendor.always(Behaviour(chunks=5, chunk_delay_s=0.01))
    names = [("big",), ("big", "more"), ("grand",), ("grand", "big")]
    usd_at = {round(0.05 * number, 2): number for number in range(1, 12)}
    with running_gateway(tmp_path, version(vendor, 0.05)) as gateway:
        async with under_load(gateway) as asked:
            for threshold, usd in usd_at.items():
                config = version(vendor, threshold, usd, names[usd % 4])
                write(gateway, config, at_once=usd % 2 > 0)
                if usd % 3 == 0:
                    gateway.process.send_signal(signal.SIGHUP)
                await live(gateway, threshold)
                if usd == 6:
                    write(gateway, {"routing": {"treshold": 1}})
                    await until(lambda: "refused" in gateway.log.read_text())
            await asyncio.sleep(1)
        failed = [one for one in asked if not one.is_answered]
        assert not failed
        assert len({one.request_id for one in asked}) == len(asked) > 100
        seen = {float(one.headers["x-gateway-threshold"]) for one in asked}
        assert seen == usd_at.keys()
        rows = {row["request_id"]: row for row in gateway.ledger_rows(len(asked))}
        assert rows.keys() == {one.request_id for one in asked}
        for row in rows.values():
            assert row["outcome"] == "ok"
            usd = usd_at[row["threshold"]]
            assert row["deployment"] in ("little", *names[usd % 4])
            assert Decimal(row["cost_usd"]) == Decimal(11 * usd + 70) / 1_000_000


async def test_a_stream_ends_on_the_deployment_that_was_removed(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    vendor.always(Behaviour(chunks=60, chunk_delay_s=0.1))
    body = {"model": "big", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with running_gateway(tmp_path, version(vendor, 0.1)) as gateway:
        text = ""
        async with (
            httpx.AsyncClient(timeout=30) as client,
            client.stream("POST", f"{gateway.base_url}/chat/completions", json=body) as response,
        ):
            async for piece in response.aiter_text():
                if not text:
                    write(gateway, version(vendor, 0.2, names=("other",)))
                    await live(gateway, 0.2)
                    models = get(gateway, "/v1/models").json()["data"]
                    assert "big" not in [model["id"] for model in models]
                text += piece
        assert text.endswith("data: [DONE]\n\n")
        assert "word59" in text
        assert post(gateway, "/chat/completions", "big").status_code == 404
        (row,) = gateway.ledger_rows(1)
        assert (row["deployment"], row["outcome"]) == ("big", "ok")


async def test_a_bad_change_is_told_and_the_old_one_stays(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    with running_gateway(tmp_path, version(vendor, 0.1)) as gateway:
        gateway.config.write_text("routing: {treshold: sk-not-to-be-shown}")
        await until(lambda: "notes" in get(gateway, "/readyz").json())
        told = get(gateway, "/readyz")
        assert told.status_code == 200
        assert "routing.treshold" in told.json()["notes"]["configuration"]
        assert "sk-not-to-be-shown" not in told.text
        await until(lambda: "unknown key, did you mean threshold?" in gateway.log.read_text())
        assert threshold_of(gateway) == 0.1
        gateway.config.unlink()
        await until(lambda: "can't be read" in gateway.log.read_text())
        assert threshold_of(gateway) == 0.1
        gateway.config.write_text("{}")
        write(gateway, version(vendor, 0.3))
        await live(gateway, 0.3)
        assert "notes" not in get(gateway, "/readyz").json()


async def test_a_mounted_folder_that_is_swapped_is_seen(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    with running_gateway(tmp_path, version(vendor, 0.1)) as gateway:
        for number, threshold in enumerate((0.2, 0.3)):
            folder = tmp_path / f"..version{number}"
            folder.mkdir()
            write(gateway, version(vendor, threshold))
            (folder / gateway.config.name).write_text(gateway.config.read_text())
            link = tmp_path / "..data_tmp"
            link.symlink_to(folder.name)
            link.replace(tmp_path / "..data")
            if number == 0:
                gateway.config.unlink()
                gateway.config.symlink_to(f"..data/{gateway.config.name}")
            await live(gateway, threshold)


async def test_every_worker_reloads(vendor: RunningVendor, tmp_path: Path) -> None:
    arguments = ("--workers", "2")
    with running_gateway(tmp_path, version(vendor, 0.1), arguments=arguments) as gateway:

        def all_at(threshold: float) -> bool:
            return {threshold_of(gateway) for _ in range(20)} == {threshold}

        async with under_load(gateway) as asked:
            write(gateway, version(vendor, 0.2))
            await until(lambda: all_at(0.2))
            write(gateway, version(vendor, 0.3))
            gateway.process.send_signal(signal.SIGHUP)
            await until(lambda: all_at(0.3))
        assert all(one.is_answered for one in asked)
        assert len(gateway.ledger_rows(len(asked))) == len(asked)


async def test_what_waits_for_a_restart_is_named_and_the_rest_goes_live(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    config = config_for(vendor)
    with running_gateway(tmp_path, config, env={"VENDOR_KEY": "k"}) as gateway:
        local, large = config["deployments"]
        renamed = {**local, "name": "small-one", "price": {"usd_per_hour": 3600}, "aliases": []}
        other = {**local, "name": "other", "model": "another-model", "aliases": []}
        changed = {
            "deployments": [renamed, other, large],
            "server": {"workers": 4, "max_body_mb": 1},
            "routing": {"threshold": 0.4},
        }
        write(gateway, changed)
        await live(gateway, 0.4)
        keys = "deployments.other, server.max_body_mb, server.workers"
        await until(lambda: f"wait for a restart: {keys}" in gateway.log.read_text())
        assert post(gateway, "/chat/completions", "small-one").status_code == 200
        (row,) = gateway.ledger_rows(1)
        assert Decimal(row["cost_usd"]) > Decimal("0.001")  # a dollar a second
        assert post(gateway, "/chat/completions", "other").status_code == 404
        assert get(gateway, "/readyz").status_code == 200
