"""Every field of `tests/compatibility/`, sent for real to each backend: none is ignored silently.

`docs/compatibility.md` holds what is observed here; `WRITE_COMPATIBILITY=1` writes it anew.
"""

import os
from collections.abc import Iterator

import httpx
import pytest

from tests.compatibility import document
from tests.compatibility.answers import ANSWER_FIELDS, answer_cells
from tests.compatibility.endpoints import ENDPOINTS
from tests.compatibility.observed import Backend, outcome
from tests.end_to_end.conftest import CLIENT_KEY, SECRETS
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.fixture import RunningVendor

COLUMNS = ("OpenAI upstream", "Anthropic upstream", "local model")


@pytest.fixture(scope="module")
def claude(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway in front of an upstream that speaks Anthropic's API."""
    one = {
        "name": "claude",
        "tier": "large",
        "backend": "anthropic",
        "model": "claude-sonnet-4-5",
        "base_url": vendor_server.base_url,
        "api_key_env": "VENDOR_KEY",
        "price": {"input": 3, "output": 15},
    }
    folder = tmp_path_factory.mktemp("claude")
    with running_gateway(folder, {"deployments": [one]}, env=SECRETS) as gateway:
        yield gateway


@pytest.fixture
def backends(
    gateway: RunningGateway, claude: RunningGateway, vendor: RunningVendor
) -> Iterator[list[Backend]]:
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    with (
        httpx.Client(base_url=gateway.url, headers=headers, timeout=60) as one,
        httpx.Client(base_url=claude.url, headers=headers, timeout=60) as other,
    ):
        yield [
            Backend(one, "gpt-4o", vendor),
            Backend(other, "claude", vendor),
            Backend(one, "smollm2", None),
        ]


def test_no_field_is_silently_ignored_and_the_document_says_what_becomes_of_each(
    backends: list[Backend],
) -> None:
    tables = {
        f"Request: {endpoint.path}": (
            COLUMNS,
            {
                case.name: [outcome(backend, endpoint, case) for backend in backends]
                for case in endpoint.cases
            },
        )
        for endpoint in ENDPOINTS
    }
    cells = [answer_cells(backend) for backend in backends]
    tables["Answer: /v1/chat/completions"] = (
        COLUMNS,
        {name: [column[name] for column in cells] for name in ANSWER_FIELDS},
    )
    found = document.written(tables)
    if os.environ.get("WRITE_COMPATIBILITY"):
        document.replace(found)
    assert document.in_document() == found
