"""What can't be loaded is refused in one line that says what to do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.fetch import FetchError, pull
from gateway.backends.local.load import load
from gateway.backends.local.loadable import check_folder
from gateway.backends.local.refused import ModelRefused
from gateway.core.errors import EngineUnavailable
from tests.backends.local.asking import answer_of, chat, until
from tests.backends.local.families import FAMILIES, make_model
from tests.backends.local.lora import make_adapter

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model("smollm2", tmp_path_factory.mktemp("whole") / "tiny")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


def configured(**config: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **config}))

    return change


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _half_fetched(folder: Path) -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    (folder / "model.safetensors").rename(folder / shards[0])
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "DCLM-Baseline": (
        configured(model_type="openlm"),
        "OpenLM (DCLM-Baseline) is not in transformers but in the package open_lm, and that one's "
        "code does not fit this engine: `pip install "
        "git+https://github.com/mlfoundations/open_lm.git` where you have a GPU, serve it "
        "elsewhere and name its URL as base_url of a deployment with backend: openai",
    ),
    "code of its own": (
        configured(model_type="tiny", auto_map={"AutoConfig": "tiny.Tiny"}),
        "its architecture tiny is code in its own repository (auto_map), and such code is never "
        "run here",
    ),
    "unknown": (configured(model_type="llama9"), "does not know its architecture llama9"),
    "nameless": (configured(model_type=None), "has no model_type"),
    "quantised": (
        configured(quantization_config={"quant_method": "gptq", "bits": 4}),
        "its weights are quantised by gptq",
    ),
    "pickled": (_pickled, "its weights are in pytorch_model.bin alone"),
    "cut": (_cut, "model.safetensors is cut short"),
    "half fetched": (
        _half_fetched,
        "its file model-00002-of-00002.safetensors is missing (1 in all)",
    ),
    "no configuration": (
        lambda folder: (folder / "config.json").unlink(),
        "it has no config.json beside its weights",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what: str, folder: Path, tmp_path: Path) -> None:
    change, reason = REFUSED[what]
    check_folder(folder)
    change(folder)
    with pytest.raises(ModelRefused, match=re.escape(reason)) as refused:
        load(folder)
    assert "\n" not in str(refused.value)
    with pytest.raises(FetchError, match=re.escape(f"can't be used: {refused.value}")):
        pull(str(folder), tmp_path / "models", lambda *_: None)


def test_an_adapter_is_no_model(whole: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "poet", whole, seed=1)
    with pytest.raises(ModelRefused, match="LoRA adapter: name it under `adapters`"):
        check_folder(adapter)
    # It is here, for all that `pull` is concerned.
    assert pull(str(adapter), tmp_path / "models", lambda *_: None) == adapter


def test_code_beside_an_architecture_that_is_known_is_left_alone(folder: Path) -> None:
    configured(auto_map={"AutoConfig": "tiny.Tiny"})(folder)
    (folder / "tiny.py").write_text("raise SystemExit('code was run')")
    assert load(folder).context_window == 1024
    for name in ("phi-3", "bitnet-b1.58"):
        assert "auto_map" in FAMILIES[name].config


@pytest.mark.parametrize("what", ["code of its own", "pickled"])
async def test_the_engine_says_why(what: str, folder: Path, tmp_path: Path) -> None:
    change, reason = REFUSED[what]
    change(folder)
    backend = LocalBackend(str(folder), models_dir=tmp_path / "models")
    await backend.start()
    try:
        await until(lambda: "can't be loaded" in str(backend.not_ready()))
        assert reason in str(backend.not_ready())
        assert "ModelRefused" not in str(backend.not_ready())
        with pytest.raises(EngineUnavailable, match=re.escape(reason)):
            await answer_of(backend, chat("Hello"))
    finally:
        await backend.stop()


def test_code_of_a_model_is_never_run() -> None:
    named = "trust_" + "remote_code"
    sources = [*(REPOSITORY / "gateway").rglob("*.py"), *(REPOSITORY / "benchmarks").rglob("*.py")]
    told = [path for path in sources if re.search(rf"{named}\W*[=:]\s*(?!False)", path.read_text())]
    assert len(sources) > 100
    assert told == []
