"""Versions are kept, promoted and taken back."""

from importlib import resources
from pathlib import Path

import pytest

from gateway.routing.classifier import ArtefactMismatch, load_artefact, load_scorer, pack_artefact
from gateway.routing.registry import Registry, classifier_file

SHIPPED = resources.files("gateway.routing").joinpath("weights", "router.json.gz").read_bytes()


def other() -> bytes:
    artefact, _ = load_artefact()
    return pack_artefact({**artefact, "bias": [0.5, 0.5]})


def test_versions_come_into_use_and_go_back_one_by_one(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "routers")
    first, second = registry.add(SHIPPED), registry.add(other())
    assert set(registry.versions()) == {first, second}
    assert registry.current() is None
    registry.promote(first)
    registry.promote(second)
    current = classifier_file(registry.folder)
    assert current is not None
    assert load_scorer(current).version == second
    assert registry.rollback() == first
    assert registry.rollback() is None
    assert registry.current() is None
    assert set(registry.versions()) == {first, second}, "nothing is lost"
    with pytest.raises(ArtefactMismatch, match="nothing is promoted"):
        registry.rollback()


def test_what_isn_t_there_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    with pytest.raises(ArtefactMismatch, match="no version r2-absent"):
        registry.promote("r2-absent")
    with pytest.raises(ArtefactMismatch):
        registry.add(b"nonsense")
    version = registry.add(SHIPPED)
    registry.promote(version)
    (tmp_path / f"{version}.json.gz").unlink()
    with pytest.raises(ArtefactMismatch, match="gone"):
        registry.current()


def test_a_file_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.json.gz"
    path.write_bytes(SHIPPED)
    assert classifier_file(path) == path
    assert classifier_file(None) is None
    assert classifier_file(tmp_path) is None, "an empty registry means the shipped one"
