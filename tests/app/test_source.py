"""The configuration's files: what was set over them, and when their contents change."""

import os
from pathlib import Path

import pytest

from gateway.app.source import ConfigSource, Contents
from gateway.routing.classifier import load_artefact, pack_artefact
from gateway.routing.registry import Registry
from gateway.settings import ConfigError, Settings


def test_the_command_line_is_set_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("server: {port: 1, max_body_mb: 3}")
    server = ConfigSource(path, {"port": 2}).load().server
    assert (server.port, server.max_body_mb) == (2, 3)
    path.write_text("server: {prot: 1}")
    with pytest.raises(ConfigError, match="did you mean port"):
        ConfigSource(path).load()


def test_contents_change_when_bytes_do(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", Contents()
    assert contents.digests([path]) == {path: None}
    path.write_text("one")
    first = contents.digests([path])
    os.utime(path, (1, 1))
    assert contents.digests([path]) == first
    path.write_text("two")
    second = contents.digests([path])
    assert second != first
    path.write_text("one")
    assert contents.digests([path]) == first


def test_contents_are_seen_through_symlinks(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    data, contents = tmp_path / "data", Contents()
    data.symlink_to("one")
    first = contents.digests([data / "file"])
    fresh = tmp_path / "fresh"
    fresh.symlink_to("two")
    fresh.replace(data)
    assert contents.digests([data / "file"]) != first


def test_files_are_those_that_the_settings_name(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    registry.promote(registry.add(pack_artefact(load_artefact()[0])))
    routing = {"calibration": "calibration.yaml", "classifier": str(registry.folder)}
    settings = Settings.model_validate({"routing": routing})
    config, calibration, promoted = ConfigSource(tmp_path / "a.yaml").files(settings.routing)
    assert config == tmp_path / "a.yaml"
    assert calibration == Path("calibration.yaml")
    before = Contents().digests([promoted])
    registry.promote(registry.versions()[0])
    assert Contents().digests([promoted]) != before
