"""The JavaScript SDK from npm, run by the Node that the development dependencies bring."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway
from tests.npm import node, packages
from tests.vendor.answers import TWO_CALLS
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

SOURCE = Path(__file__).parent / "javascript"


@pytest.fixture
def folder(pytestconfig: pytest.Config) -> Path:
    """The script beside its packages."""
    folder = packages(pytestconfig, "javascript", SOURCE / "package.json")
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
