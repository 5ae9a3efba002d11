"""GGUF files: converted once, and the same model afterwards."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gateway.backends.local.convert import Unconvertible, convert
from gateway.backends.local.fetch import FetchError, describe, pull
from gateway.backends.local.folder import served_name
from gateway.backends.local.load import load
from gateway.backends.local.network.interface import Part
from tests.backends.local.families import make_model
from tests.backends.local.gguf_file import write_gguf

QUESTION = [{"role": "user", "content": "What is 12 + 345?"}]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model("smollm2", tmp_path_factory.mktemp("origin") / "tiny")


def quiet(step: str, done: int, total: int) -> None:
    """Nobody watches."""


def silent(step: str, done: int, total: int) -> None:
    raise AssertionError(f"nothing should be converted again, but: {step}")


def greedy(folder: Path, ids: list[int]) -> list[int]:
    """What the folder's model says next, token for token."""
    network = load(folder, "float32").network
    network.open(1, len(ids) + 8)
    memory = network.memory()
    logits = network.read([Part(memory, ids, wants_logits=True)])
    said = []
    for _ in range(8):
        said.append(int(logits[0].argmax()))
        logits = network.step([memory], said[-1:])
    return said


@pytest.fixture(scope="module")
def gguf(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(origin, tmp_path_factory.mktemp("files") / "tiny.F32.gguf")


@pytest.fixture(scope="module")
def pulled(gguf: Path) -> tuple[Path, list[str]]:
    """Where the file was pulled to, and the steps that it took."""
    steps: list[str] = []
    return pull(str(gguf), gguf.parent / "models", lambda step, *_: steps.append(step)), steps


def test_a_gguf_file_becomes_the_same_model(
    origin: Path, gguf: Path, pulled: tuple[Path, list[str]]
) -> None:
    folder, steps = pulled
    assert steps == [
        *("reading the tokenizer", "unpacking the weights", "writing safetensors", "ready")
    ]
    ours, theirs = load_file(folder / "model.safetensors"), load_file(origin / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    tokenizer, before = load(folder).tokenizer, load(origin).tokenizer
    ids = tokenizer.encode(QUESTION)
    assert ids == before.encode(QUESTION)
    assert greedy(folder, ids) == greedy(origin, ids)
    info = describe(str(gguf), folder.parent)
    assert info is not None
    assert (info.folder, info.licence, info.context_window) == (folder, "apache-2.0", 1024)
    assert info.source == f"the GGUF file {gguf}"
    assert served_name(str(gguf)) == "tiny.F32"


def test_a_file_is_converted_once_and_again_when_it_has_changed(
    gguf: Path, pulled: tuple[Path, list[str]]
) -> None:
    folder, _ = pulled
    assert pull(str(gguf), folder.parent, silent) == folder
    os.utime(gguf, (0, 0))
    with pytest.raises(AssertionError, match="reading the tokenizer"):
        pull(str(gguf), folder.parent, silent)
    # The old one stays until the new one is whole; and the file may go once it was converted.
    gguf.unlink()
    assert pull(str(gguf), folder.parent, silent) == folder


def test_a_folder_with_one_file_and_one_with_several(origin: Path, tmp_path: Path) -> None:
    place, models = tmp_path / "place", tmp_path / "models"
    place.mkdir()
    write_gguf(origin, place / "tiny.F16.gguf", numbers=np.float16)
    folder = pull(str(place), models, quiet)
    assert folder.parent == models
    stored = load_file(folder / "model.safetensors")
    theirs = load_file(origin / "model.safetensors")
    matrices = [name for name in stored if stored[name].ndim == 2]
    assert all(torch.equal(stored[one].half(), theirs[one].half()) for one in matrices)
    assert pull(str(place), models, silent) == folder
    write_gguf(origin, place / "tiny.F32.gguf")
    other = tmp_path / "other"
    with pytest.raises(FetchError, match=r"it holds 2 GGUF files: name one of them, such as"):
        pull(str(place), other, quiet)


def test_weights_that_were_half_are_kept_half(tmp_path: Path) -> None:
    origin = make_model("smollm2", tmp_path / "tiny")
    weights = load_file(origin / "model.safetensors")
    halved = {name: one.bfloat16().float() for name, one in weights.items()}
    save_file(halved, origin / "model.safetensors", metadata={"format": "pt"})
    convert(write_gguf(origin, tmp_path / "tiny.gguf"), tmp_path / "made")
    stored = load_file(tmp_path / "made" / "model.safetensors")
    assert all(one.dtype == torch.bfloat16 for one in stored.values())
    assert all(torch.equal(stored[name].float(), halved[name]) for name in stored)


def llama3_divisors(theta: float, size: int, factor: float) -> np.ndarray:
    """By what llama.cpp divides each frequency of a Llama 3: those of long waves by `factor`."""
    waves = 2 * np.pi * theta ** (np.arange(0, size, 2) / size)
    smooth = np.clip((8192 / waves - 1) / (4 - 1), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def test_how_llama_3_stretches_its_positions_is_kept(tmp_path: Path) -> None:
    origin = make_model("llama-3", tmp_path / "tiny")
    config = json.loads((origin / "config.json").read_text())
    config["rope_scaling"] |= {"factor": 32.0, "original_max_position_embeddings": 8192}
    (origin / "config.json").write_text(json.dumps(config))
    tensors = {"rope_freqs.weight": llama3_divisors(500000.0, 16, 32)}
    gguf = write_gguf(origin, tmp_path / "tiny.gguf", tensors=tensors)
    folder = tmp_path / "made"
    convert(gguf, folder)
    ids = load(origin).tokenizer.plain("The small model answers what it can. " * 12)
    assert greedy(folder, ids) == greedy(origin, ids)
    stated = json.loads((folder / "config.json").read_text())["rope_parameters"]
    assert (stated["rope_type"], stated["factor"]) == ("llama3", 32.0)
    strange = {"rope_freqs.weight": np.linspace(1, 3, 8, dtype=np.float32)}
    gguf = write_gguf(origin, tmp_path / "strange.gguf", tensors=strange)
    with pytest.raises(Unconvertible, match="stretches its position embeddings in a way of its"):
        convert(gguf, tmp_path / "strange")


def test_files_that_are_refused(origin: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    whole = write_gguf(origin, tmp_path / "whole.gguf")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(FetchError, match=r"cut\.gguf is no GGUF file, or cut short"):
        pull(str(cut), models, quiet)
    foreign = write_gguf(origin, tmp_path / "foreign.gguf", architecture="grok")
    with pytest.raises(
        FetchError, match=r"the architecture grok; transformers .* reads only .*llama"
    ):
        pull(str(foreign), models, quiet)
    long = {"rope_factors_long.weight": np.ones(8, np.float32)}
    stretched = write_gguf(origin, tmp_path / "long.gguf", tensors=long)
    with pytest.raises(FetchError, match="leaves out of GGUF: take the model as safetensors"):
        pull(str(stretched), models, quiet)
    assert describe(str(stretched), models) is None


def test_a_file_without_all_weights_is_no_model(origin: Path, tmp_path: Path) -> None:
    config = json.loads((origin / "config.json").read_text())
    deeper = tmp_path / "deeper"
    shutil.copytree(origin, deeper)
    config["num_hidden_layers"] += 1
    (deeper / "config.json").write_text(json.dumps(config))
    gguf = write_gguf(deeper, tmp_path / "deeper.gguf")
    with pytest.raises(
        FetchError, match=r"not be converted .*layers\.3\..* is not in deeper\.gguf"
    ):
        pull(str(gguf), tmp_path / "models", quiet)
