"""A gateway as users start it, with the real small model and the simulated vendor behind it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.fixture import RunningVendor

CLIENT_KEY = "sk-client-1"
VENDOR_KEY = "sk-vendor-secret"
SECRETS = {"GATEWAY_API_KEYS": f"{CLIENT_KEY},sk-client-2", "VENDOR_KEY": VENDOR_KEY}


def config_for(vendor: RunningVendor, **sections: Any) -> dict[str, Any]:
    return {
        "deployments": [
            {
                "name": "smollm2",
                "tier": "small",
                "backend": "local",
                "model": "smollm2-135m-instruct",
                "price": {"usd_per_hour": 0.08},
                "aliases": ["tiny"],
            },
            {
                "name": "gpt-4o",
                "tier": "large",
                "backend": "openai",
                "model": "gpt-4o",
                "base_url": vendor.base_url,
                "api_key_env": "VENDOR_KEY",
                "price": {"input": 2.5, "cached_input": 1.25, "output": 10},
                "timeout_s": 2,
                "idle_timeout_s": 1,
                "retries": 1,
            },
        ],
        # Tests that make deployments fail share this gateway with others.
        "resilience": {
            "breaker": {"failures": 1000, "cooldown_s": 0.001, "longest_cooldown_s": 0.001}
        },
        "routing": {
            "model_map": {"gpt-3.5*": "auto"},
            "policies": {
                "balanced": {},
                "cheap": {"threshold": 0.8},
                "quality": {"target": {"quality": 0.95}},
                # Everything is the small model's, whatever it thinks of its answers, or never.
                "trusting": {"threshold": 1, "cascade": {"min_confidence": 0}},
                "doubting": {"threshold": 1, "cascade": {"hold_tokens": 4, "min_confidence": 1}},
            },
        },
        **sections,
    }


def embedders_for(vendor: RunningVendor) -> list[dict[str, Any]]:
    """The local encoder, and the same model of two vendors."""
    remote = {
        "tier": "large",
        "serves": "embeddings",
        "backend": "openai",
        "model": "text-embedding-3-small",
        "base_url": vendor.base_url,
        "api_key_env": "VENDOR_KEY",
        "price": {"input": 0.02, "output": 0},
        "retries": 0,
    }
    local = {"backend": "local", "model": "all-minilm-l6-v2", "price": {"usd_per_hour": 0.08}}
    return [
        {"name": "minilm", "tier": "small", "serves": "embeddings", **local},
        {"name": "embed", **remote, "aliases": ["text-embedding-3-small"]},
        {"name": "embed-too", **remote},
    ]


@pytest.fixture(scope="session")
def serving(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    config = config_for(vendor_server)
    config["deployments"] += embedders_for(vendor_server)
    with running_gateway(folder, config, env=SECRETS) as gateway:
        yield gateway


@pytest.fixture
def gateway(serving: RunningGateway, vendor: RunningVendor) -> RunningGateway:
    """The shared gateway, the vendor's record clean."""
    return serving


@pytest.fixture(scope="session")
def client(serving: RunningGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=serving.base_url, api_key=CLIENT_KEY, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
async def async_client(serving: RunningGateway) -> Any:
    async with AsyncOpenAI(base_url=serving.base_url, api_key=CLIENT_KEY, max_retries=0) as sdk:
        yield sdk
