"""LoRA adapters: which fit, and that they change the answers as merged weights would."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gateway.backends.local.adapters import (
    AdapterMisfit,
    adapter_folder,
    check_adapter,
    layers_of,
    missing_of,
)
from tests.backends.local.families import make_model
from tests.backends.local.lora import RANK, make_adapter, write_config


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model("smollm2", tmp_path_factory.mktemp("base") / "smollm2")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "adapter", base, seed=1)


def test_an_adapter_that_fits(base: Path, adapter: Path) -> None:
    check_adapter("mine", adapter, base)
    layers = layers_of(adapter, base)
    assert len(layers) == 3 * 3
    layer = layers["model.layers.2.mlp.down_proj"]
    assert layer.a == "base_model.model.model.layers.2.mlp.down_proj.lora_A.weight"
    assert layer.scale == 2


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"use_rslora": True}, 4),
        ({"alpha_pattern": {"down_proj": 2}}, 0.5),
        ({"rank_pattern": {"layers.2.mlp.down_proj": RANK}, "r": 8, "lora_alpha": 12}, 3),
    ],
)
def test_how_much_an_adapter_adds(
    config: dict[str, Any], scale: float, base: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(
        tmp_path / "adapter", base, seed=1, targets=("layers.2.mlp.down_proj",), **config
    )
    assert [layer.scale for layer in layers_of(adapter, base).values()] == [scale]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "kind PROMPT_TUNING"),
        ({"task_type": "SEQ_CLS"}, "trained for SEQ_CLS"),
        ({"use_dora": True, "bias": "all"}, "trained with use_dora, bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"r": 8}, "rank 4, and adapter_config.json says 8"),
        ({"lora_alpha": None}, "no lora_alpha"),
        ({"fan_in_fan_out": True}, "the adapter's 128 into 192"),
    ],
)
def test_a_configuration_that_is_refused(
    config: dict[str, Any], reason: str, base: Path, adapter: Path
) -> None:
    write_config(adapter, base, **config)
    with pytest.raises(AdapterMisfit, match=reason) as refused:
        check_adapter("mine", adapter, base)
    assert str(refused.value).startswith(f"the adapter mine ({adapter}) does not fit: ")
    assert "\n" not in str(refused.value)


def test_an_adapter_of_another_model(base: Path, tmp_path: Path) -> None:
    wider = make_model("gpt-2", tmp_path / "gpt-2")
    adapter = make_adapter(tmp_path / "adapter", base, seed=1)
    with pytest.raises(AdapterMisfit, match=r"the model has no layer model\.layers\.0"):
        check_adapter("mine", adapter, wider)
    narrower = make_model("solar", tmp_path / "solar")
    with pytest.raises(AdapterMisfit, match="of the model turns 128 numbers into 64, the adapter"):
        check_adapter("mine", adapter, narrower)


def _pickled(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")


def _cut(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _halved(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, path)


def _embedded(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    key = "base_model.model.model.embed_tokens.lora_embedding_A"
    save_file({**load_file(path), key: torch.ones(1)}, path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_pickled, "pickled weights are not read"),
        (_cut, "adapter_model.safetensors is cut short"),
        (_halved, "only one of its two matrices"),
        (_embedded, "lora_embedding_A is no low-rank matrix of a linear layer"),
    ],
)
def test_files_that_are_refused(
    change: Callable[[Path], None], reason: str, base: Path, adapter: Path
) -> None:
    change(adapter)
    with pytest.raises(AdapterMisfit, match=reason):
        check_adapter("mine", adapter, base)


def test_where_adapters_are(base: Path, adapter: Path, tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    assert adapter_folder(str(adapter), models_dir) == adapter
    assert adapter_folder("org/mine", models_dir) is None
    shutil.copytree(adapter, models_dir / "org--mine")
    assert adapter_folder("org/mine", models_dir) == models_dir / "org--mine"


def test_what_is_missing_names_the_command(base: Path, adapter: Path, tmp_path: Path) -> None:
    assert missing_of(str(base), {"mine": str(adapter)}, tmp_path) is None
    missing = missing_of("org/base", {"mine": "org/mine"}, tmp_path)
    assert missing == "the model org/base is not on this machine: run `slm-gateway pull org/base`"
    missing = missing_of(str(base), {"mine": "org/mine"}, tmp_path)
    assert missing == "the adapter org/mine is not on this machine: run `slm-gateway pull org/mine`"
