"""GPUs can't be measured where the library is missing: the extra `nvidia` brings it."""

import importlib.util

import pytest

from gateway.backends.openai import OpenAIBackend
from gateway.power.nvml import Nvml

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pynvml") is not None, reason="the library is here"
)


def test_without_the_library_nothing_is_measured(caplog: pytest.LogCaptureFixture) -> None:
    assert Nvml.found([0]) is None
    assert "install slm-gateway[nvidia]" in caplog.text


async def test_an_upstream_whose_gpus_cant_be_measured_works_all_the_same() -> None:
    backend = OpenAIBackend(base_url="http://127.0.0.1:9", api_key=None)
    backend.gpus = [0]
    await backend.start()
    assert backend.not_ready() is None
    assert backend.reading(1.0, 1.0) is None
    await backend.stop()
