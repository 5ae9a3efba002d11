"""LlamaIndex with only its base URL changed, on the older SDK of OpenAI that it wants."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.answers import TWO_CALLS
from tests.vendor.behaviour import ANSWER
from tests.vendor.fixture import RunningVendor

SCRIPT = Path(__file__).parent / "llamaindex" / "smoke.py"
LOCK = Path(__file__).parents[2] / "locks" / "llamaindex.txt"


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def packages(pytestconfig: pytest.Config) -> Path:
    """The folder with what LlamaIndex needs of its own, kept in pytest's cache."""
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("llamaindex")
    installed = folder / "installed.txt"
    if not installed.exists() or installed.read_text() != LOCK.read_text():
        shutil.rmtree(folder)
        uv = str(Path(sys.executable).with_name("uv"))
        options = ["--target", str(folder), "--no-deps", "--require-hashes"]
        run(uv, "pip", "install", "--python", sys.executable, *options, "--requirement", str(LOCK))
        installed.write_text(LOCK.read_text())
    return folder


def test_what_users_of_llamaindex_do(
    gateway: RunningGateway, vendor: RunningVendor, packages: Path
) -> None:
    vendor.will(TWO_CALLS)
    seen: dict[str, Any] = json.loads(
        run(
            sys.executable,
            str(SCRIPT),
            PYTHONPATH=str(packages),
            OPENAI_API_BASE=gateway.base_url,
            OPENAI_API_KEY=CLIENT_KEY,
        )
    )
    assert seen["sdk"].startswith("2.")
    assert seen["cities"] == ["Zürich", "東京"]
    assert seen["answer"] == ANSWER
    results = [one for one in vendor.received[1].body["messages"] if one["role"] == "tool"]
    assert [(one["tool_call_id"], one["content"]) for one in results] == [
        ("call_1", "sunny in Zürich"),
        ("call_2", "sunny in 東京"),
    ]
    assert "Paris" in seen["plain"]
    assert "Paris" in seen["small"]
    assert seen["large"].strip() == ANSWER
