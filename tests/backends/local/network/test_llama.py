"""The own forward pass: what fails on the way may be read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gateway.backends.local.folder import read_json
from gateway.backends.local.network.build import llama_of
from gateway.backends.local.network.interface import Part
from gateway.backends.local.network.llama import LlamaNetwork
from tests.backends.local.families import make_model


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def test_a_prompt_whose_logits_fail_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model("smollm2", tmp_path / "smollm2")
    network = llama_of(folder, read_json(folder / "config.json"), torch.float32)
    assert isinstance(network, LlamaNetwork)
    network.open(2, 64)
    tokens = [5, 6, 7]
    expected = network.read([Part(network.memory(), tokens, wants_logits=True)])
    part = Part(network.memory(), tokens, wants_logits=True)

    def fail(states: Any) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(network._head, "logits", fail)
        with pytest.raises(RuntimeError):
            network.read([part])
    assert torch.equal(network.read([part]), expected)
    assert part.memory.length == len(tokens)
