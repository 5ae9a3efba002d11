"""What models are and can do, read from their files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from gateway.backends.local.abilities import abilities_of, fitting, installed_adapters
from tests.backends.local.families import make_model
from tests.backends.local.gguf_file import write_gguf
from tests.backends.local.lora import make_adapter


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    names = ("smollm2", "gpt-2", "bitnet-b1.58")
    return {name: make_model(name, place / name) for name in names}


def test_the_real_models(model_folder: Path, encoder_folder: Path) -> None:
    small, encoder = abilities_of(model_folder), abilities_of(encoder_folder)
    assert (small.family, small.does) == ("llama", "chat, template, no tools")
    assert small.parameters == 134_515_008
    assert (encoder.family, encoder.does) == ("bert", "embeddings of 384")


def test_models_with_and_without_a_template(folders: dict[str, Path], tmp_path: Path) -> None:
    plain = abilities_of(folders["gpt-2"])
    assert (plain.family, plain.does) == ("gpt2", "chat, no template")
    taught = tmp_path / "taught"
    shutil.copytree(folders["smollm2"], taught)
    (taught / "chat_template.jinja").write_text("{% if tools %}{{ tools | tojson }}{% endif %}")
    assert abilities_of(taught).does == "chat, template, tools"


def test_parameters_are_numbers_not_bytes(folders: dict[str, Path]) -> None:
    stored = load_file(folders["bitnet-b1.58"] / "model.safetensors")
    packed = {name.removesuffix("_scale") for name in stored if name.endswith("_scale")}
    numbers = sum(
        4 * one.numel() if name in packed else one.numel() for name, one in stored.items()
    )
    assert packed
    assert abilities_of(folders["bitnet-b1.58"]).parameters == numbers


def test_adapters_and_what_they_fit(folders: dict[str, Path], tmp_path: Path) -> None:
    base = folders["smollm2"]
    adapter = make_adapter(tmp_path / "org--poet", base, seed=1)
    known = abilities_of(adapter)
    assert (known.family, known.does) == ("lora", f"adapter, trained for {base}")
    assert fitting(adapter, folders) == ["smollm2"]
    assert installed_adapters(tmp_path) == {"org--poet": adapter}
    assert installed_adapters(tmp_path / "none") == {}


def test_a_gguf_file_that_was_not_converted(folders: dict[str, Path], tmp_path: Path) -> None:
    write_gguf(folders["smollm2"], tmp_path / "tiny.gguf")
    known = abilities_of(tmp_path)
    assert (known.family, known.parameters) == ("gguf", None)
    assert "slm-gateway pull" in known.does
