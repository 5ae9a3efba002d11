"""Fetching from a hub: resumed, checked, refused before the weights where it can't be run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.backends.local.fetch import FetchError, describe, pull
from tests.backends.local.families import make_model
from tests.backends.local.hub_server import REVISION, Hub, running_hub
from tests.backends.local.lora import make_adapter

TINY = "org/tiny"
Steps = list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_model("smollm2", tmp_path_factory.mktemp("origin") / "tiny")
    (folder / "modeling_tiny.py").write_text("raise SystemExit('code was run')")
    (folder / "pytorch_model.bin").write_bytes(b"not to be fetched")
    return folder


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    copy = tmp_path / "repository"
    shutil.copytree(tiny, copy)
    with running_hub({TINY: copy}) as hub:
        use(hub.url, monkeypatch)
        monkeypatch.setattr("gateway.backends.local.hub.PAUSE_S", 0)
        yield hub


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the environment's HF_ENDPOINT does, which is read once a process."""
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def quiet(step: str, done: int, total: int) -> None:
    """Nobody watches."""


def weights_of(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_what_is_fetched(hub: Hub, tiny: Path, models: Path) -> None:
    steps: Steps = []
    folder = pull(TINY, models, lambda *step: steps.append(step))
    assert folder == models / "org--tiny"
    assert weights_of(folder) == weights_of(tiny)
    # No code, no pickles; and nothing is left beside it but the lock.
    assert sorted(path.name for path in folder.iterdir()) == [
        *("config.json", "generation_config.json", "model.safetensors"),
        *("slm-gateway.json", "tokenizer.json", "tokenizer_config.json"),
    ]
    assert sorted(path.name for path in models.iterdir()) == [".org--tiny.lock", "org--tiny"]
    info = describe(TINY, models)
    assert info is not None
    assert (info.name, info.licence) == (TINY, "apache-2.0")
    assert info.source == f"the hub, {TINY}@{REVISION}"
    names = {name for name, _, _ in steps}
    assert names == {f"downloading {TINY} (MB)", "ready"}
    assert hub.asked.count(("model.safetensors", 0)) == 1
    # What is here isn't asked for again.
    hub.asked.clear()
    assert pull(TINY, models, quiet) == folder
    assert hub.asked == []


def test_a_connection_that_breaks_is_gone_on_with(hub: Hub, tiny: Path, models: Path) -> None:
    size = (tiny / "model.safetensors").stat().st_size
    hub.cut_after = size // 3 + 1
    folder = pull(TINY, models, quiet)
    assert weights_of(folder) == weights_of(tiny)
    began = [start for name, start in hub.asked if name == "model.safetensors"]
    assert began == [0, hub.cut_after, 2 * hub.cut_after]


def test_what_was_cut_too_often_is_gone_on_with_by_the_next_call(
    hub: Hub, tiny: Path, models: Path
) -> None:
    hub.cut_after = 1000
    with pytest.raises(FetchError, match="run the same command again to go on from here"):
        pull(TINY, models, quiet)
    assert describe(TINY, models) is None
    hub.cut_after = None
    hub.asked.clear()
    assert weights_of(pull(TINY, models, quiet)) == weights_of(tiny)
    assert hub.asked == [("model.safetensors", 5000)]
    assert sorted(path.name for path in models.iterdir()) == [".org--tiny.lock", "org--tiny"]


def test_a_hub_that_knows_no_ranges_begins_again(hub: Hub, tiny: Path, models: Path) -> None:
    hub.cut_after = 5000
    with pytest.raises(FetchError):
        pull(TINY, models, quiet)
    hub.cut_after, hub.knows_ranges = None, False
    assert weights_of(pull(TINY, models, quiet)) == weights_of(tiny)


def test_a_file_that_is_not_what_the_hub_lists_is_not_kept(
    hub: Hub, tiny: Path, models: Path
) -> None:
    hub.corrupts = True
    with pytest.raises(FetchError, match=r"model\.safetensors of org/tiny has the checksum"):
        pull(TINY, models, quiet)
    assert describe(TINY, models) is None
    hub.corrupts = False
    assert weights_of(pull(TINY, models, quiet)) == weights_of(tiny)


def test_a_disk_without_room(hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=100_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    with pytest.raises(FetchError, match=r"takes \d+ MB of disk space, and .* has 0 MB left"):
        pull(TINY, models, quiet)
    assert hub.asked == []


def _openlm(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "openlm"}))


def _own_code(folder: Path) -> None:
    config = {"model_type": "tiny", "auto_map": {"AutoConfig": "modeling_tiny.Tiny"}}
    (folder / "config.json").write_text(json.dumps(config))


def _pickles(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _ggufs(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tiny.Q4_K_M.gguf")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_openlm, "OpenLM .* is not in transformers but in the package open_lm"),
        (_own_code, r"its architecture tiny is code in its own repository \(auto_map\)"),
        (_pickles, r"its weights are in pytorch_model\.bin alone"),
        (_ggufs, r"download one, then `slm-gateway pull tiny\.Q4_K_M\.gguf`"),
    ],
)
def test_what_can_not_be_run_is_refused_before_its_weights(
    change: Callable[[Path], None], reason: str, hub: Hub, models: Path
) -> None:
    change(hub.repositories[TINY])
    with pytest.raises(FetchError, match=reason) as refused:
        pull(TINY, models, quiet)
    assert refused.value.message.startswith("org/tiny can't be used: ")
    assert "\n" not in refused.value.message
    assert not {name for name, _ in hub.asked} & {"model.safetensors", "modeling_tiny.py"}


def test_repositories_that_can_not_be_had(
    hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FetchError, match="The hub has no org/other, or it is private"):
        pull("org/other", models, quiet)
    hub.gated = True
    with pytest.raises(FetchError, match="org/tiny is gated: accept its terms"):
        pull(TINY, models, quiet)
    use("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(FetchError, match=r"could not be fetched from the hub \(.*refused"):
        pull(TINY, models, quiet)


def test_an_adapter_is_fetched_as_a_model_is(hub: Hub, tiny: Path, models: Path) -> None:
    hub.repositories["org/poet"] = make_adapter(tiny.parent / "poet", tiny, seed=3)
    folder = pull("org/poet", models, quiet)
    assert (folder / "adapter_model.safetensors").is_file()
    assert pull("org/poet", models, quiet) == folder


def test_a_killed_command_is_gone_on_with_by_one_that_waited(
    hub: Hub, tiny: Path, models: Path
) -> None:
    config = models.parent / "gateway.yaml"
    config.write_text(yaml.safe_dump({"models": {"dir": str(models)}}))
    command = [sys.executable, "-m", "gateway", "pull", TINY, "--config", str(config)]
    options: Any = {
        "env": {**os.environ, "HF_ENDPOINT": hub.url},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    half = (tiny / "model.safetensors").stat().st_size // 2
    hub.stalls_after = half
    parts = models / ".org--tiny.partial" / "parts"
    with subprocess.Popen(command, **options) as killed:
        until(lambda: any(part.stat().st_size == half for part in parts.glob("*")))
        with subprocess.Popen(command, **options) as waiting:
            assert waiting.stderr is not None
            assert "waiting for another process" in waiting.stderr.readline()
            hub.stalls_after = None
            killed.send_signal(signal.SIGKILL)
            output, _ = waiting.communicate(timeout=30)
        hub.may_go_on.set()
    assert waiting.returncode == 0
    assert f"{TINY} is ready in {models / 'org--tiny'}" in output
    assert weights_of(models / "org--tiny") == weights_of(tiny)
    began = [start for name, start in hub.asked if name == "model.safetensors"]
    assert began == [0, half]


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
