"""The `llm` command, with the gateway named in its extra-openai-models.yaml."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.answers import TWO_CALLS
from tests.vendor.behaviour import ANSWER
from tests.vendor.fixture import RunningVendor

EASY = "What is the capital of France?"
TOOL = """
def get_weather(city: str) -> str:
    "The weather in a city."
    return f"sunny in {city}"
"""


@pytest.fixture
def folder(gateway: RunningGateway, tmp_path: Path) -> Path:
    usual = {"api_base": gateway.base_url, "api_key_name": "gateway", "supports_tools": True}
    models = [
        {"model_id": "gateway", "model_name": "auto", **usual},
        {"model_id": "large", "model_name": "gpt-4o", **usual},
    ]
    (tmp_path / "extra-openai-models.yaml").write_text(yaml.safe_dump(models))
    (tmp_path / "keys.json").write_text(f'{{"gateway": "{CLIENT_KEY}"}}')
    return tmp_path


def llm(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env={**os.environ, "LLM_USER_PATH": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_both_tiers_answer(gateway: RunningGateway, folder: Path) -> None:
    assert "Paris" in llm(folder, "-m", "gateway", "-o", "temperature", "0", EASY)
    assert llm(folder, "-m", "large", "--no-stream", EASY) == ANSWER


def test_tools_are_called(gateway: RunningGateway, folder: Path, vendor: RunningVendor) -> None:
    vendor.will(TWO_CALLS)
    assert llm(folder, "-m", "large", "--functions", TOOL, EASY) == ANSWER
    results = [one for one in vendor.received[1].body["messages"] if one["role"] == "tool"]
    assert [one["content"] for one in results] == ["sunny in Zürich", "sunny in 東京"]
