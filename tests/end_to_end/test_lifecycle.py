"""Starting, serving alone or with several workers, and ending."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from tests.end_to_end.conftest import config_for
from tests.gateway_process import free_port, run_cli, running_gateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

HARD = "Prove that there are infinitely many primes congruent to 3 modulo 4."


def test_without_a_large_key_the_small_model_answers_and_says_so(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    with running_gateway(tmp_path, config_for(vendor), env={"VENDOR_KEY": ""}) as gateway:
        with OpenAI(base_url=gateway.base_url, api_key="unused") as sdk:
            raw = sdk.chat.completions.with_raw_response.create(
                model="auto", messages=[{"role": "user", "content": HARD}], max_tokens=3
            )
        assert raw.headers["x-gateway-tier"] == "small"
        assert raw.headers["x-gateway-reason"] == "no_large_backend"
        assert float(raw.headers["x-gateway-score"]) > 0.5
        pinned = httpx.post(
            f"{gateway.base_url}/chat/completions",
            json={"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]},
        )
        assert pinned.status_code == 503
        assert "VENDOR_KEY is not set" in pinned.json()["error"]["message"]
        notes = [line for line in gateway.log.read_text().splitlines() if '"warning"' in line]
        assert len(notes) == 1
    assert not vendor.received


def test_a_stream_in_flight_is_finished_before_the_end(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    vendor.always(Behaviour(chunks=30, chunk_delay_s=0.05))
    with running_gateway(
        tmp_path, config_for(vendor), env={"VENDOR_KEY": "k"}, ready="/healthz"
    ) as gateway:
        body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        text = ""
        with httpx.stream("POST", f"{gateway.base_url}/chat/completions", json=body) as response:
            for piece in response.iter_text():
                if not text:
                    gateway.process.send_signal(signal.SIGTERM)
                text += piece
        assert text.endswith("data: [DONE]\n\n")
        assert "word29" in text
        assert gateway.process.wait(20) == 0
        (row,) = gateway.ledger_rows(1)
        assert row["outcome"] == "ok"


def test_the_engine_ends_with_the_gateway(vendor: RunningVendor, tmp_path: Path) -> None:
    with running_gateway(tmp_path, config_for(vendor), env={"VENDOR_KEY": "k"}) as gateway:
        engine = _children(gateway.process.pid)
        assert engine
        gateway.process.kill()
        gateway.process.wait(10)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in engine):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def test_several_workers_share_one_engine_and_one_ledger(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    arguments = ("--workers", "2")
    env = {"VENDOR_KEY": "k"}
    with running_gateway(tmp_path, config_for(vendor), env=env, arguments=arguments) as gateway:

        def ask(model: str) -> None:
            body = {
                "model": model,
                "max_tokens": 2,
                "messages": [{"role": "user", "content": "Hi"}],
            }
            for _ in range(5):
                url = f"{gateway.base_url}/chat/completions"
                response = httpx.post(url, json=body, timeout=30)
                assert response.status_code == 200

        askers = [threading.Thread(target=ask, args=(m,)) for m in ("gpt-4o", "smollm2") * 2]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        rows = gateway.ledger_rows(20)
        assert len({row["request_id"] for row in rows}) == len(rows) == 20


def test_an_open_door_is_refused() -> None:
    told = run_cli(
        "serve", "--host", "0.0.0.0", "--port", free_port(), env={"GATEWAY_API_KEYS": ""}, status=2
    )
    assert "GATEWAY_API_KEYS" in told


def test_a_bad_configuration_is_refused_at_start(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("routing: {treshold: 0.5}")
    told = run_cli("serve", "--config", path, status=2)
    assert "routing.treshold: unknown key, did you mean threshold?" in told


def test_a_missing_model_is_told_with_its_command(vendor: RunningVendor, tmp_path: Path) -> None:
    config = config_for(vendor, models={"dir": str(tmp_path / "empty")})
    with running_gateway(tmp_path, config, env={"VENDOR_KEY": "k"}, ready="/healthz") as gateway:
        ready = httpx.get(f"{gateway.url}/readyz")
        assert ready.status_code == 503
        assert "slm-gateway pull" in ready.json()["checks"]["smollm2"]
        answer = httpx.post(
            f"{gateway.base_url}/chat/completions",
            json={"model": "auto", "messages": [{"role": "user", "content": "Hi"}]},
        )
        assert answer.headers["x-gateway-tier"] == "large"
        assert answer.headers["x-gateway-reason"] == "no_small_backend"


@pytest.mark.parametrize("command", ["serve", "costs", "route", "train"])
def test_every_command_has_help(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "Usage: slm-gateway" in done.stdout


def test_a_dry_run_agrees_with_live_traffic(vendor: RunningVendor, tmp_path: Path) -> None:
    env = {"VENDOR_KEY": "k"}
    with running_gateway(tmp_path, config_for(vendor), env=env, ready="/healthz") as gateway:
        for prompt in ("Hello!", HARD, "写一首关于春天的诗", "Translate 'cat' to German"):
            messages = [{"role": "user", "content": prompt}]
            body = {"model": "auto", "max_tokens": 1, "messages": messages}
            told = httpx.post(f"{gateway.base_url}/route", json=body)
            assert told.status_code == 200
            route = told.json()
            assert route["tier"] == ("large" if route["score"] >= route["threshold"] else "small")
            assert route["flip_threshold"] == route["score"]
            assert {cost["deployment"] for cost in route["costs"]} == {"smollm2", "gpt-4o"}
            path = gateway.config
            by_command = json.loads(run_cli("route", prompt, "--json", "--config", path, env=env))
            assert by_command["score"] == route["score"]
            assert by_command["contributions"] == route["contributions"]
            if route["tier"] == "large":
                url = f"{gateway.base_url}/chat/completions"
                live = httpx.post(url, json=body).headers
                assert live["x-gateway-tier"] == route["tier"]
                assert live["x-gateway-score"] == f"{route['score']:.4f}"
                assert live["x-gateway-router"] == route["router"]
    assert vendor.received
