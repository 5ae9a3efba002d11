"""What a model folder holds, read without loading the model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

#: What `pull` notes about a model beside its files.
NOTE = "slm-gateway.json"

_WINDOW_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


@dataclass(slots=True, frozen=True)
class ModelInfo:
    """A model on this machine: its context window in tokens and its size on disk in bytes.

    `context_window` and `licence` are None where the folder doesn't say.
    """

    name: str
    folder: Path
    context_window: int | None
    size_bytes: int
    licence: str | None
    source: str | None


def folder_of(model: str, models_dir: Path) -> Path | None:
    """The folder that holds the model: where `pull` puts it, or a path to it.

    None when the model isn't on this machine.
    """
    fetched = models_dir / stored_name(model)
    if holds_model(fetched):
        return fetched
    path = Path(model).expanduser()
    return path.resolve() if holds_model(path) else None


def stored_name(model: str) -> str:
    """The folder's name in `models_dir`: a hub id's slash is not a folder, nor is a path's."""
    if not _is_path(model):
        return model.replace("/", "--")
    path = Path(model).expanduser().resolve()
    return f"{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def served_name(model: str) -> str:
    """How answers name the model: a file's or folder's own name, else as configured."""
    path = Path(model).expanduser()
    if _is_path(model) and path.suffix == ".gguf":
        return path.stem
    return path.resolve().name if path.is_dir() else model


def _is_path(model: str) -> bool:
    return model.startswith(("/", "./", "../", "~")) or model.endswith(".gguf")


def gguf_of(folder: Path) -> str | None:
    """The GGUF file to load, where the folder has no safetensors."""
    if any(folder.glob("*.safetensors")):
        return None
    return next((path.name for path in sorted(folder.glob("*.gguf"))), None)


def describe(model: str, models_dir: Path) -> ModelInfo | None:
    """What is known of a model on this machine; None when it isn't here."""
    folder = folder_of(model, models_dir)
    if folder is None:
        return None
    note = read_json(folder / NOTE)
    return ModelInfo(
        name=str(note.get("model") or served_name(model)),
        folder=folder,
        context_window=context_window_of(read_json(folder / "config.json")),
        size_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        licence=note.get("licence"),
        source=note.get("source"),
    )


def installed(models_dir: Path) -> list[ModelInfo]:
    """The models that `pull` has put here, by name."""
    if not models_dir.is_dir():
        return []
    names = sorted(path.name for path in models_dir.iterdir() if not path.name.startswith("."))
    found = (describe(name, models_dir) for name in names)
    return [info for info in found if info is not None and info.folder.parent == models_dir]


def context_window_of(config: Mapping[str, Any]) -> int | None:
    """The context window in tokens that a model's configuration states."""
    text = config.get("text_config")
    sources = (config, text if isinstance(text, Mapping) else {})
    stated = (source.get(key) for source in sources for key in _WINDOW_KEYS)
    return next((int(value) for value in stated if value), None)


def vector_size_of(folder: Path) -> int | None:
    """How many dimensions an encoder's vectors have, as far as its folder says."""
    size = read_json(folder / "config.json").get("hidden_size")
    return size if isinstance(size, int) else None


def holds_model(path: Path) -> bool:
    """Whether there are weights to load: safetensors with their configuration, or a GGUF file."""
    if not path.is_dir():
        return False
    has_weights = any(path.glob("*.safetensors")) and (path / "config.json").is_file()
    return has_weights or any(path.glob("*.gguf"))


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object from a file; empty where there is none."""
    if not path.is_file():
        return {}
    content = orjson.loads(path.read_bytes())
    return content if isinstance(content, dict) else {}
