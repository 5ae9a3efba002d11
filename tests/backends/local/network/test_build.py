"""Weights that were converted once: by this machine, by another, by one that died meanwhile."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gateway.backends.local.folder import read_json
from gateway.backends.local.network import build
from gateway.backends.local.network.build import CONVERTED, llama_of
from gateway.backends.local.network.interface import Network, Part
from gateway.backends.local.network.kernels.library import level
from gateway.backends.local.network.kernels.network import KernelNetwork
from gateway.backends.local.network.llama import LlamaNetwork
from gateway.backends.local.network.shape import LlamaShape, OtherNetwork
from tests.backends.local.families import make_model

TOKENS = [5, 9, 200, 31, 7]
LOAD = """
import sys
from pathlib import Path
from gateway.backends.local.folder import read_json
from gateway.backends.local.network import build

build.runs = lambda *_: False
folder = Path(sys.argv[1])
build.llama_of(folder, read_json(folder / "config.json"), None)
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose matrices lie on sixteen levels, as if published in four bits."""
    folder = make_model("smollm2", tmp_path / "model")
    file = folder / "model.safetensors"
    save_file({name: _levelled(one) for name, one in load_file(file).items()}, file)
    return folder


def _levelled(weight: torch.Tensor) -> torch.Tensor:
    if weight.ndim != 2 or weight.shape[1] % 32:
        return weight
    groups = weight.view(len(weight), -1, 32)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = (high - low) / 15
    return (((groups - low) / step).round() * step + low).view_as(weight)


@pytest.fixture
def _by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the kernels aren't compiled."""
    monkeypatch.setattr(build, "runs", lambda *_: False)


def load(folder: Path, dtype: torch.dtype | None = None) -> Network:
    return llama_of(folder, read_json(folder / "config.json"), dtype)


def logits(network: Network) -> torch.Tensor:
    """After a prompt and a step, so that both kinds of products are in it."""
    network.open(1, 64)
    memory = network.memory()
    with torch.inference_mode():
        network.read([Part(memory, TOKENS[:-1], wants_logits=False)])
        return network.step([memory], TOKENS[-1:])[0]


@pytest.mark.usefixtures("_by_torch")
def test_weights_that_another_processor_converted_are_converted_again(folder: Path) -> None:
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    command = [sys.executable, "-c", LOAD, str(folder)]
    subprocess.run(command, env=environment, check=True, timeout=60)
    assert (folder / CONVERTED).is_file()
    exact = logits(load(folder, torch.float32))
    found = logits(load(folder))
    assert (found - exact).norm() < 0.1 * exact.norm()


@pytest.mark.skipif(level() == 0, reason="no kernels for this processor")
def test_each_kind_of_kernels_converts_for_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = logits(load(folder, torch.float32))
    kinds = []
    for has_kernels in (True, False, True):
        with monkeypatch.context() as here:
            if not has_kernels:
                here.setattr(build, "runs", lambda *_: False)
            network = load(folder)
        kinds.append(type(network))
        assert (logits(network) - exact).norm() < 0.1 * exact.norm()
    assert kinds == [KernelNetwork, LlamaNetwork, KernelNetwork]


def test_weights_are_converted_once(folder: Path) -> None:
    first = logits(load(folder))
    made = (folder / CONVERTED).stat().st_mtime_ns
    assert torch.equal(logits(load(folder)), first)
    assert (folder / CONVERTED).stat().st_mtime_ns == made


def test_weights_that_are_stored_in_another_way_are_not_read_as_they_are(folder: Path) -> None:
    config = {
        **read_json(folder / "config.json"),
        "quantization_config": {"quant_method": "bitnet"},
    }
    with pytest.raises(OtherNetwork):
        LlamaShape.of(config)
