"""Fetching, as far as it goes without a network: what is here already, and what is refused."""

from pathlib import Path

import pytest

from gateway.backends.local.catalogue import PACKAGED_MODELS
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
    with pytest.raises(FetchError, match="no folder with safetensors"):
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
    assert 500e6 < info.size_bytes < 600e6
    assert installed(tmp_path) == installed(tmp_path / "missing") == []
    assert describe(MODEL, tmp_path) is None
