"""transformers' forward pass: a sequence that fails leaves the others' answers as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gateway.backends.local.network.generic import TransformersNetwork
from gateway.backends.local.network.interface import Part
from tests.backends.local.families import make_model

PROMPTS = ([5, 6, 7], [8, 9], [10, 11, 12, 13])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model("gpt-2", tmp_path_factory.mktemp("generic") / "gpt2")


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


class FailsAt:
    """Breaks a layer of a network the first time that it reads a given token."""

    def __init__(self, network: TransformersNetwork, token: int, layer: torch.nn.Module) -> None:
        self.token = token
        self.left = 1
        self.reads = False
        network.model.register_forward_pre_hook(self._look, with_kwargs=True)
        layer.register_forward_pre_hook(self._break)

    def _look(self, module: Any, inputs: Any, named: dict[str, Any]) -> None:
        self.reads = self.token in named["input_ids"]

    def _break(self, module: Any, inputs: Any) -> None:
        if self.reads and self.left:
            self.left -= 1
            raise RuntimeError("out of memory")


def prompted(network: TransformersNetwork) -> list[Any]:
    memories = [network.memory() for _ in PROMPTS]
    network.read([Part(m, p, wants_logits=False) for m, p in zip(memories, PROMPTS, strict=True)])
    return memories


def test_a_step_that_one_sequence_fails_is_tried_again_for_each(folder: Path) -> None:
    sound = TransformersNetwork.of_folder(folder, torch.float32, {})
    expected = sound.step(prompted(sound), [20, 21, 22])
    network = TransformersNetwork.of_folder(folder, torch.float32, {})
    memories = prompted(network)
    FailsAt(network, 21, network.model.transformer.h[1])
    with pytest.raises(RuntimeError):
        network.step(memories, [20, 21, 22])
    again = [network.step([m], [t]) for m, t in zip(memories, [20, 21, 22], strict=True)]
    assert torch.equal(torch.cat(again), expected)
    assert [memory.length for memory in memories] == [4, 3, 5]
    following = network.step(memories, [20, 21, 22])
    assert not torch.equal(following, expected)


def test_a_prompt_that_fails_is_tried_again_for_each(folder: Path) -> None:
    sound = TransformersNetwork.of_folder(folder, torch.float32, {})
    parts = [Part(sound.memory(), tokens, wants_logits=True) for tokens in PROMPTS]
    expected = sound.read(parts)
    network = TransformersNetwork.of_folder(folder, torch.float32, {})
    FailsAt(network, 10, network.model.transformer.h[0])
    parts = [Part(network.memory(), tokens, wants_logits=True) for tokens in PROMPTS]
    with pytest.raises(RuntimeError):
        network.read(parts)
    assert torch.equal(torch.cat([network.read([part]) for part in parts]), expected)
